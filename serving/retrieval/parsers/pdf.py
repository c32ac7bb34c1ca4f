"""PDF by pypdf: the text layer, page by page. A scan without a text layer holds no text."""

from __future__ import annotations

import io
import logging
import re

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.types import Document

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # its warnings quote the document


def parse_pdf(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    """Blocks carry their page, counted from 1. A lone line break inside a paragraph stays in it."""
    if b"%%EOF" not in data[-2048:]:
        raise UnreadableDocument("damaged", "the PDF is truncated: its end is missing")
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted:
            raise UnreadableDocument("encrypted", "the PDF is encrypted; remove its password first")
        if len(reader.pages) > bounds.pages:
            raise UnreadableDocument("too_large", f"the PDF has over {bounds.pages:,} pages")
        builder = DocumentBuilder("pdf", bounds)
        for number, page in enumerate(reader.pages, 1):
            for paragraph in re.split(r"\n\s*\n", page.extract_text()):
                builder.add(paragraph, number)
        title = reader.metadata.title if reader.metadata else None
    except (UnreadableDocument, MemoryError):
        raise
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError):
        # pypdf meets damaged files with whatever its code runs into.
        raise UnreadableDocument("damaged", "the PDF is damaged") from None
    return builder.build(name, "" if title in (None, "untitled", "(anonymous)") else str(title))
