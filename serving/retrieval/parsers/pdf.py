"""PDF by PDFium: text with positions, page by page; the text of scanned pages is recognised."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pypdfium2
from pypdfium2 import raw

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers import OCR_NEEDED, ocr
from serving.retrieval.parsers.layout import HYPHEN, Piece, add_page
from serving.retrieval.types import Document

_GAP = 1.2
"""Space between two words of a line that separates cells or columns, in character heights."""
_SCAN_PIXELS = 1_800
"""Longer side in pixels of a page rendered for text recognition."""


def parse_pdf(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    """Blocks have their page, counted from 1. Columns are read one after the other, tables row by row."""
    if b"%%EOF" not in data[-2048:]:
        raise UnreadableDocument("damaged", "the PDF is truncated: its end is missing")
    builder = DocumentBuilder("pdf", bounds)
    scanned: list[int] = []
    try:
        with pypdfium2.PdfDocument(data) as document:
            if len(document) > bounds.pages:
                raise UnreadableDocument("too_large", f"the PDF has more than {bounds.pages:,} pages")
            for number in range(1, len(document) + 1):
                page = document[number - 1]
                pieces = list(_pieces(page, builder))
                if not pieces and _has_image(page):
                    scanned.append(number)
                    if len(scanned) > bounds.scanned_pages:
                        raise UnreadableDocument(
                            "too_large",
                            f"the PDF has more than {bounds.scanned_pages} scanned pages; split it into parts",
                        )
                    pieces = _recognised(page) if ocr.installed() else []
                add_page(builder, pieces, number)
                page.close()
            title = document.get_metadata_value("Title")
    except pypdfium2.PdfiumError as e:
        if e.err_code == raw.FPDF_ERR_PASSWORD:
            raise UnreadableDocument("encrypted", "the PDF is encrypted; remove its password first") from None
        raise UnreadableDocument("damaged", "the PDF is damaged") from None
    if scanned and builder.empty and not ocr.installed():
        raise UnreadableDocument("unsupported", f"the PDF is a scan; {OCR_NEEDED}")
    return builder.build(name, "" if title in ("untitled", "(anonymous)") else title)


def _pieces(page: pypdfium2.PdfPage, builder: DocumentBuilder) -> Iterator[Piece]:
    """Yields runs of characters on one line; a wide space divides them."""
    text = page.get_textpage()
    top = page.get_bbox()[3]
    characters: list[str] = []
    box = [0.0, 0.0, 0.0, 0.0]
    left, below, right, above = (ctypes.c_double() for _ in range(4))

    def piece() -> Iterator[Piece]:
        joined = "".join(characters).strip()
        if joined:
            yield Piece(joined, box[0], top - box[3], box[2], top - box[1])
        characters.clear()

    count = text.count_chars()
    builder.require_room(count)  # a page may show one object thousands of times
    for index in range(count):
        code = raw.FPDFText_GetUnicode(text, index)
        if code in (0x0A, 0x0D):
            yield from piece()
            continue
        if raw.FPDFText_IsHyphen(text, index) == 1 and code in (0x02, 0xFFFE):
            characters.append(HYPHEN)
            continue
        character = chr(code) if 0x20 <= code < 0x110000 and not 0xD800 <= code < 0xE000 else ""
        if not character or character == "\ufffe":
            continue
        if character.isspace():
            characters.append(" ")
            continue
        raw.FPDFText_GetCharBox(text, index, left, right, below, above)
        place = [left.value, below.value, right.value, above.value]
        if characters and _apart(box, place):
            yield from piece()
        if characters:
            box = [min(box[0], place[0]), min(box[1], place[1]), max(box[2], place[2]), max(box[3], place[3])]
        else:
            box = place
        characters.append(character)
    yield from piece()
    text.close()


def _apart(box: list[float], place: list[float]) -> bool:
    """Returns whether a character is on another line, or after a wide space."""
    height = max(box[3] - box[1], place[3] - place[1], 1.0)
    middle = (place[1] + place[3]) / 2
    if not box[1] - height < middle < box[3] + height:
        return True
    return place[0] - box[2] > _GAP * height or place[2] < box[0] - height


def _has_image(page: pypdfium2.PdfPage) -> bool:
    return any(True for _ in page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=3))


def _recognised(page: pypdfium2.PdfPage) -> list[Piece]:
    width, height = page.get_size()
    scale = min(_SCAN_PIXELS / max(width, height, 1.0), 4.0)
    bitmap = page.render(scale=scale, grayscale=True)
    return ocr.recognised(bitmap.to_numpy())
