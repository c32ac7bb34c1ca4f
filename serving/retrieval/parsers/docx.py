"""DOCX by python-docx: headings by style, paragraphs and tables (a row is a block)."""

from __future__ import annotations

import io
import re

from docx import Document as open_docx
from docx.oxml.ns import qn
from docx.table import Table
from docx.text.paragraph import Paragraph

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.parsers.table import add_table
from serving.retrieval.types import Document


def parse_docx(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("docx", bounds)
    source = open_docx(io.BytesIO(data))
    for item in source.iter_inner_content():
        if isinstance(item, Paragraph):
            _paragraph(item, builder)
        else:
            _table(item, builder)
    title = source.core_properties.title
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
    # `row.cells` is quadratic for merged cells; the XML elements are not.
    rows = [[" ".join(p.text for p in cell.p_lst) for cell in row.tc_lst] for row in table._tbl.tr_lst]
    repeated = bool(rows) and table._tbl.tr_lst[0].find(f"{qn('w:trPr')}/{qn('w:tblHeader')}") is not None
    header = rows.pop(0) if repeated and len(rows) > 1 else None
    add_table(builder, rows, header=header)
