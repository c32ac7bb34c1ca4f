"""Writes a document in each of five formats, by other programs than those that read it."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Callable, Mapping
from html import escape

import xlsxwriter
from docx import Document as new_docx
from reportlab.platypus import Flowable, Paragraph, Spacer
from xlsxwriter.worksheet import Worksheet

from tests.contract.retrieval.first_day.subject import Source
from tests.unit.retrieval.tables.documents import BODY, GRID, HEAD, STYLES, story, table


def pdf(source: Source) -> bytes:
    parts: list[Flowable] = [Paragraph(source.title, STYLES["Title"])]
    for section in source.sections:
        parts.append(Paragraph(section.heading, STYLES["Heading2"]))
        parts += [Paragraph(escape(text), BODY) for text in section.paragraphs]
        if section.table is not None:
            parts += [Spacer(1, 8), table(section.table, GRID if section.ruled else HEAD), Spacer(1, 8)]
    return story(*parts, footer=source.title)


def docx(source: Source) -> bytes:
    document = new_docx()
    document.add_heading(source.title, 0)
    for section in source.sections:
        document.add_heading(section.heading, 1)
        for text in section.paragraphs:
            document.add_paragraph(text)
        if section.table is not None:
            rows = [section.table.header, *section.table.rows]
            made = document.add_table(len(rows), len(rows[0]), "Table Grid" if section.ruled else None)
            for cells, row in zip(made.rows, rows, strict=True):
                for cell, text in zip(cells.cells, row, strict=True):
                    cell.text = text
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def xlsx(source: Source) -> bytes:
    """A sheet for each section. Numbers, shares, days and times are values with a format, as if somebody typed them."""
    buffer = io.BytesIO()
    workbook = xlsxwriter.Workbook(buffer, {"in_memory": True})
    formats = {name: workbook.add_format({"num_format": name}) for name in ("0", "0.00", "0%", "yyyy-mm-dd", "hh:mm")}
    workbook.set_properties({"title": source.title})
    for section in source.sections:
        sheet = workbook.add_worksheet(section.heading)
        number = 0
        for text in section.paragraphs:
            sheet.write_string(number, 0, text)
            number += 1
        if section.table is not None:
            for row in (section.table.header, *section.table.rows):
                for column, text in enumerate(row):
                    typed(sheet, number, column, text, formats)
                number += 1
    workbook.close()
    return buffer.getvalue()


def typed(sheet: Worksheet, row: int, column: int, text: str, formats: Mapping[str, xlsxwriter.format.Format]) -> None:
    if re.fullmatch(r"\d+", text):
        sheet.write_number(row, column, int(text), formats["0"])
    elif re.fullmatch(r"\d+\.\d\d", text):
        sheet.write_number(row, column, float(text), formats["0.00"])
    elif re.fullmatch(r"\d+%", text):
        sheet.write_number(row, column, int(text[:-1]) / 100, formats["0%"])
    elif re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        sheet.write_datetime(row, column, datetime.datetime.fromisoformat(text), formats["yyyy-mm-dd"])
    elif re.fullmatch(r"\d\d:\d\d", text):
        sheet.write_datetime(row, column, datetime.time.fromisoformat(text), formats["hh:mm"])
    else:
        sheet.write_string(row, column, text)


def html(source: Source) -> bytes:
    parts = []
    for section in source.sections:
        parts.append(f"<h2>{escape(section.heading)}</h2>")
        parts += [f"<p>{escape(text)}</p>" for text in section.paragraphs]
        if section.table is not None:
            head = "".join(f"<th>{escape(name)}</th>" for name in section.table.header)
            rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in section.table.rows)
            body = "".join(f"<tr>{row}</tr>" for row in rows)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    title = escape(source.title)
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title></head>"
        f"<body><nav><a href=/>Home</a></nav><main><h1>{title}</h1>{''.join(parts)}</main></body></html>"
    ).encode()


def markdown(source: Source) -> bytes:
    parts = [f"# {source.title}"]
    for section in source.sections:
        parts += [f"## {section.heading}", *section.paragraphs]
        if section.table is not None:
            lines = [section.table.header, ["---"] * len(section.table.header), *section.table.rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return ("\n\n".join(parts) + "\n").encode()


FORMATS: Mapping[str, Callable[[Source], bytes]] = {
    "pdf": pdf,
    "docx": docx,
    "xlsx": xlsx,
    "html": html,
    "md": markdown,
}
