"""PDFs that describe their tables, made by hand: marked content on pages, and the tree of elements beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pypdf import PdfWriter
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DecodedStreamObject,
    DictionaryObject,
    IndirectObject,
    NameObject,
    NumberObject,
    PdfObject,
)


@dataclass(frozen=True, slots=True)
class Text:
    """A text at a place in points; `form` says that it is in the page's Form XObject, which numbers it separately.

    A text without `marked` is no marked content.
    """

    text: str
    x: float
    y: float
    form: bool = False
    marked: bool = True


@dataclass(frozen=True, slots=True)
class Element:
    """An element of the structure: its kind, and the elements or the (page, number of a text) in it."""

    kind: str
    kids: Sequence[Element | tuple[int, int]]
    spans: Mapping[str, int] = field(default_factory=dict)


def tagged(pages: Sequence[Sequence[Text]], structure: Element, drawing: str = "") -> bytes:
    """Returns a PDF. Texts of a page are numbered in their order, those in its Form XObject from 0 again.

    The structure names the texts that are on the page itself. `drawing` is further content of each page.
    """
    writer = PdfWriter()
    font = writer._add_object(_dictionary(Type="Font", Subtype="Type1", BaseFont="Helvetica"))
    parents: list[list[PdfObject]] = []
    for number, texts in enumerate(pages):
        page = writer.add_blank_page(600, 850)
        fonts = _dictionary(Font=_dictionary(F=font))
        page[NameObject("/Resources")] = fonts
        within = [text for text in texts if text.form]
        content = _content([text for text in texts if not text.form]) + drawing
        if within:
            form = _stream(_content(within))
            form.update(_dictionary(Type="XObject", Subtype="Form", Resources=_dictionary(Font=_dictionary(F=font))))
            form[NameObject("/BBox")] = ArrayObject(map(NumberObject, (0, 0, 600, 850)))
            fonts[NameObject("/XObject")] = _dictionary(X=writer._add_object(form))
            content += "/X Do\n"
        page[NameObject("/Contents")] = writer._add_object(_stream(content))
        page[NameObject("/StructParents")] = NumberObject(number)
        parents.append([])
    root = _dictionary(Type="StructTreeRoot")
    place = writer._add_object(root)

    def added(element: Element, parent: IndirectObject) -> IndirectObject:
        made = _dictionary(Type="StructElem", S=element.kind, P=parent)
        at = writer._add_object(made)
        kids = ArrayObject()
        for kid in element.kids:
            if isinstance(kid, Element):
                kids.append(added(kid, at))
                continue
            page, number = kid
            reference = writer.pages[page].indirect_reference
            kids.append(_dictionary(Type="MCR", Pg=reference, MCID=NumberObject(number)))
            parents[page].append(at)
        made[NameObject("/K")] = kids
        if element.spans:
            made[NameObject("/A")] = _dictionary(O="Table", **{k: NumberObject(v) for k, v in element.spans.items()})
        return at

    root[NameObject("/K")] = added(structure, place)
    numbers = ArrayObject()
    for number, elements in enumerate(parents):
        numbers += [NumberObject(number), ArrayObject(elements)]
    root[NameObject("/ParentTree")] = _dictionary(Nums=numbers)
    writer.root_object[NameObject("/StructTreeRoot")] = place
    writer.root_object.update(_dictionary(MarkInfo=_dictionary(Marked=BooleanObject(True))))
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def _content(texts: Sequence[Text]) -> str:
    parts = []
    number = 0
    for text in texts:
        shown = f"BT /F 10 Tf {text.x} {text.y} Td ({text.text}) Tj ET"
        parts.append(f"/P <</MCID {number}>> BDC {shown} EMC\n" if text.marked else shown + "\n")
        number += text.marked
    return "".join(parts)


def _stream(content: str) -> DecodedStreamObject:
    stream = DecodedStreamObject()
    stream.set_data(content.encode())
    return stream


def _dictionary(**values: PdfObject | str) -> DictionaryObject:
    """Returns a dictionary in which plain strings are names."""
    return DictionaryObject(
        {
            NameObject(f"/{key}"): NameObject(f"/{value}") if isinstance(value, str) else value
            for key, value in values.items()
        }
    )
