"""PDF by PDFium: text with positions, page by page; the text of scanned pages is recognised."""

from __future__ import annotations

import pypdfium2
from pypdfium2 import raw

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers import OCR_NEEDED, ocr
from serving.retrieval.parsers.layout import PageLayout
from serving.retrieval.parsers.pdf_tags import TableTags
from serving.retrieval.parsers.pdf_text import Layer, layers
from serving.retrieval.parsers.pieces import Piece
from serving.retrieval.types import Document

_SCAN_PIXELS = 1_800
"""Longer side in pixels of a page rendered for text recognition."""


def parse_pdf(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    """Blocks have their page, counted from 1. Columns are read one after the other, tables row by row."""
    if b"%%EOF" not in data[-2048:]:
        raise UnreadableDocument("damaged", "the PDF is truncated: its end is missing")
    builder = DocumentBuilder("pdf", bounds)
    layout = PageLayout(builder)
    scanned: list[int] = []
    try:
        with pypdfium2.PdfDocument(data) as document:
            if len(document) > bounds.pages:
                raise UnreadableDocument("too_large", f"the PDF has more than {bounds.pages:,} pages")
            tags = TableTags(document)
            for number in range(1, len(document) + 1):
                page = document[number - 1]
                found, unreadable = layers(page, tags, builder.require_room)
                builder.unreadable += unreadable
                if not found and _has_image(page):
                    scanned.append(number)
                    if len(scanned) > bounds.scanned_pages:
                        raise UnreadableDocument(
                            "too_large",
                            f"the PDF has more than {bounds.scanned_pages} scanned pages; split it into parts",
                        )
                    found = [Layer(_recognised(page))] if ocr.installed() else []
                    builder.unread_pages += not ocr.installed()
                for layer in found:
                    layout.add_page(layer.pieces, number, layer.rules)
                page.close()
            title = document.get_metadata_value("Title")
    except pypdfium2.PdfiumError as e:
        if e.err_code == raw.FPDF_ERR_PASSWORD:
            raise UnreadableDocument("encrypted", "the PDF is encrypted; remove its password first") from None
        raise UnreadableDocument("damaged", "the PDF is damaged") from None
    if scanned and builder.empty and not ocr.installed():
        raise UnreadableDocument("unsupported", f"the PDF is a scan; {OCR_NEEDED}")
    return builder.build(name, "" if title in ("untitled", "(anonymous)") else title)


def _has_image(page: pypdfium2.PdfPage) -> bool:
    return any(True for _ in page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=3))


def _recognised(page: pypdfium2.PdfPage) -> list[Piece]:
    width, height = page.get_size()
    scale = min(_SCAN_PIXELS / max(width, height, 1.0), 4.0)
    bitmap = page.render(scale=scale, grayscale=True)
    return ocr.recognised(bitmap.to_numpy())
