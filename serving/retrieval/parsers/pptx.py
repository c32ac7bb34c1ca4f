"""PPTX by python-pptx: a slide is a page and its title a heading; text, tables and notes. Macros are ignored."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from pptx import Presentation

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers.table import add_table
from serving.retrieval.types import Document


def parse_pptx(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("pptx", bounds)
    presentation = Presentation(io.BytesIO(data))
    for number, slide in enumerate(presentation.slides, 1):
        if number > bounds.pages:
            raise UnreadableDocument("too_large", f"the presentation has more than {bounds.pages:,} slides")
        title = slide.shapes.title
        if title is not None:
            builder.heading(title.text_frame.text, 1, number)
        _shapes((s for s in slide.shapes if title is None or s.shape_id != title.shape_id), builder, number, 0)
        if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None:
            builder.add(notes.text, number)
    title_property = presentation.core_properties.title
    return builder.build(name, "" if title_property == "PowerPoint Presentation" else title_property)


def _shapes(shapes: Iterable[Any], builder: DocumentBuilder, page: int, depth: int) -> None:
    if depth > builder.bounds.depth:
        raise UnreadableDocument("too_complex", f"shapes are nested more than {builder.bounds.depth} levels deep")
    for shape in shapes:
        if hasattr(shape, "shapes"):
            _shapes(shape.shapes, builder, page, depth + 1)
        elif getattr(shape, "has_table", False):
            table = shape.table
            rows = [[cell.text_frame.text for cell in row.cells] for row in table.rows]
            header = rows.pop(0) if table.first_row and len(rows) > 1 else None
            add_table(builder, rows, header=header, page=page)
        elif shape.has_text_frame:
            for paragraph in shape.text_frame.paragraphs:
                builder.add(paragraph.text.replace("\v", "\n"), page)
