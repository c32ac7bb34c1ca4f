"""Excel workbooks by calamine: a sheet is a section, a row a block. Values are the last computed; no macros run.

Numbers are as their cells show them, since that is what people read and ask for.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from pathlib import PurePosixPath
from typing import Any

from python_calamine import CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers.table import add_table, are_names
from serving.retrieval.text.formulas import never_computed
from serving.retrieval.text.number_formats import CellFormats, NumberFormat
from serving.retrieval.types import Document


def parse_xlsx(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    """Hidden sheets are skipped, like hidden parts of an HTML page."""
    builder = DocumentBuilder("xlsx", bounds)
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
        if never_computed(data):
            raise UnreadableDocument(
                "empty",
                "the formulas of the workbook have no values yet; open it in a spreadsheet program, save it, and send "
                "it again",
            )
        formats = CellFormats(data)
        shown = [
            sheet.name
            for sheet in workbook.sheets_metadata
            if sheet.visible == SheetVisibleEnum.Visible and sheet.typ == SheetTypeEnum.WorkSheet
        ]
        for sheet_name in shown:
            sheet = workbook.get_sheet_by_name(sheet_name)
            if len(shown) > 1:
                builder.heading(sheet_name, 1)
            for header, table in _tables(_texts(sheet, formats.of_sheet(sheet_name), builder)):
                add_table(builder, table, header=header)
    except BaseException as e:  # a panic in Rust is not an `Exception`
        if type(e).__name__ != "PanicException":
            raise
        raise UnreadableDocument("damaged", "the workbook is damaged") from None
    return builder.build(name, PurePosixPath(name).stem)


def _texts(
    sheet: CalamineSheet, formats: Iterator[tuple[int, int, NumberFormat]], builder: DocumentBuilder
) -> Iterator[list[str]]:
    """Yields the texts of rows. Cells share strings, so that a row can have a million times the file's characters."""
    first = sheet.start[1] if sheet.start else 0
    ahead = next(formats, None)
    for number, row in enumerate(sheet.iter_rows()):
        of_row: dict[int, NumberFormat] = {}
        while ahead is not None and ahead[0] <= number:
            if ahead[0] == number:
                of_row[ahead[1] - first] = ahead[2]
            ahead = next(formats, None)
        texts = [_text(value, of_row.get(column)) for column, value in enumerate(row)]
        builder.require_room(sum(map(len, texts)))
        yield texts


def _tables(rows: Iterable[list[str]]) -> Iterator[tuple[Sequence[str], list[list[str]]]]:
    """Yields rows with the header of their table.

    A sheet may have lines of text above a table, and several tables: a new one begins where a row of names fills other
    columns than the table above.
    """
    header: list[str] = []
    used, blank = True, False
    for row in rows:
        filled = [i for i, cell in enumerate(row) if cell]
        if not filled:
            blank = True
            continue
        other = filled != [i for i, cell in enumerate(header) if cell]
        if (blank or not header) and other and are_names(row):
            if not used:
                yield (), [header]
            header, used = row, False
        else:
            yield (header if len(filled) > 1 else ()), [row]
            used = used or len(filled) > 1
        blank = False
    if not used:
        yield (), [header]


def _text(value: Any, format: NumberFormat | None) -> str:
    match value:
        case bool():
            return str(value).upper()
        case float() if format is not None:
            return format.render(value)
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime():
            return value.isoformat(" ", _precision(value))
        case time():
            return value.isoformat(_precision(value))
        case date():
            return value.isoformat()
    return str(value)


def _precision(value: datetime | time) -> str:
    """Returns what shows a time without seconds as 08:20."""
    return "auto" if value.second or value.microsecond else "minutes"
