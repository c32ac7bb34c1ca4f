"""DOCX by python-docx: headings by style, paragraphs and tables (a row is a block)."""

from __future__ import annotations

import io
import re
import zipfile

from docx import Document as open_docx
from docx.opc.exceptions import OpcError
from docx.table import Table
from docx.text.paragraph import Paragraph

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.types import Document


def parse_docx(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("docx", bounds)
    try:
        source = open_docx(io.BytesIO(data))
        for item in source.iter_inner_content():
            if isinstance(item, Paragraph):
                _paragraph(item, builder)
            else:
                _table(item, builder)
        title = source.core_properties.title
    except (OpcError, SyntaxError, KeyError, ValueError, AttributeError, zipfile.BadZipFile, OSError) as e:
        if isinstance(e, UnreadableDocument):
            raise
        raise UnreadableDocument("damaged", "the DOCX file is damaged") from None
    return builder.build(name, "" if title == "Word Document" else title)


def _paragraph(paragraph: Paragraph, builder: DocumentBuilder) -> None:
    style = (paragraph.style.name if paragraph.style else None) or ""
    if style == "Title":
        builder.heading(paragraph.text, 0)
    elif found := re.fullmatch(r"Heading ([1-9])", style):
        builder.heading(paragraph.text, int(found.group(1)))
    else:
        builder.add(paragraph.text)


def _table(table: Table, builder: DocumentBuilder) -> None:
    # `row.cells` is quadratic over merged cells; the XML's own cells are not.
    for row in table._tbl.tr_lst:
        cells = (" ".join(p.text for p in cell.p_lst) for cell in row.tc_lst)
        builder.add(" | ".join(" ".join(cell.split()) for cell in cells))
