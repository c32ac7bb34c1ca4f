"""Numbers of a workbook are read as its cells show them."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Mapping, Sequence

import pytest
import xlsxwriter

from serving.retrieval.builder import ChunkBounds
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import parse
from serving.retrieval.text import number_formats
from serving.retrieval.text.number_formats import number_format

Cell = tuple[object, str | int | None]
"""A value, and its format by code or by number."""

SHOWN: Sequence[tuple[float, str, str]] = [
    (0.35, "0%", "35%"),
    (0.0725, "0.0%", "7.3%"),
    (0.125, "0.00 %", "12.50 %"),
    (11.4, "0.00", "11.40"),
    (2.675, "0.00", "2.68"),
    (-0.004, "0.00", "0.00"),
    (1234567.891, "#,##0.00", "1,234,567.89"),
    (-1234.5, '#,##0.00\\ "crowns"', "-1,234.50 crowns"),
    (-1234.5, "$#,##0.00;[Red]($#,##0.00)", "-$1,234.50"),
    (1234.5, "[$€-407] #,##0.00", "€ 1,234.50"),
    (1234.5, "#,##0.00\\ [$CHF-807]", "1,234.50 CHF"),
    (1234.5, '_("$"* #,##0.00_);_("$"* \\(#,##0.00\\);_("$"* "-"??_);_(@_)', "$1,234.50"),
    (1234.0, "00000", "01234"),
    (1.5, "0.###", "1.5"),
    (2.0, "0.###", "2"),
    (0.5, ".00", "0.50"),
    (7.0, '0" %"', "7 %"),
    (3.0, '"No. "0', "No. 3"),
    (1e300, "0.00", "1e+300"),
    (float("nan"), "0.00", "nan"),
    (-999_999_999_999_999.0, "0." + "0" * 30, "-999999999999999." + "0" * 30),
]
AS_STORED = (
    "General",
    "yyyy-mm-dd",
    "# ?/?",
    "0.00E+00",
    '0.0,"k"',
    "@",
    "(000) 000-0000",
    "[>=100]0.0",
    "0%%",
    "0" * 256,
)


@pytest.mark.parametrize(("value", "code", "shown"), SHOWN)
def test_a_number_is_shown_by_its_format(value: float, code: str, shown: str) -> None:
    format = number_format(code)
    assert format is not None
    assert format.render(value) == shown


@pytest.mark.parametrize("code", AS_STORED)
def test_a_format_that_shows_no_whole_number_is_left_alone(code: str) -> None:
    assert number_format(code) is None


def workbook(sheets: Mapping[str, Sequence[Sequence[Cell]]], at: tuple[int, int] = (0, 0)) -> bytes:
    """Returns a workbook whose tables begin `at` row and column."""
    buffer = io.BytesIO()
    made = xlsxwriter.Workbook(buffer, {"in_memory": True})
    for name, rows in sheets.items():
        sheet = made.add_worksheet(name)
        for number, row in enumerate(rows, at[0]):
            for column, (value, code) in enumerate(row, at[1]):
                format = made.add_format({"num_format": code}) if code is not None else None
                sheet.write(number, column, value, format)
    made.close()
    return buffer.getvalue()


HEADER: Sequence[Cell] = [("Group", None), ("Persons", None), ("Share", None), ("From", None)]
TABLE = [
    HEADER,
    [("Families", None), (3, None), (0.15, 9), (datetime.time(8, 20), "hh:mm")],
    [("Clubs", None), (20, "0.0"), (0.225, "0.0%"), (datetime.time(8, 20, 5), "hh:mm:ss")],
    [("All", None), (0.1, None), (1, 10), (datetime.datetime(2031, 5, 12, 8, 20), "yyyy-mm-dd hh:mm")],
]
ROWS = [
    "Group: Families | Persons: 3 | Share: 15% | From: 08:20",
    "Group: Clubs | Persons: 20.0 | Share: 22.5% | From: 08:20:05",
    "Group: All | Persons: 0.1 | Share: 100.00% | From: 2031-05-12 08:20",
]


def texts(data: bytes) -> list[str]:
    return [block.text for block in parse(data, "a.xlsx").blocks]


@pytest.mark.parametrize("at", [(0, 0), (3, 2), (1, 30)])
def test_cells_have_their_own_formats_wherever_a_table_begins(at: tuple[int, int]) -> None:
    assert texts(workbook({"Reductions": TABLE}, at)) == ROWS


def test_each_sheet_has_its_own_formats() -> None:
    plain = [[(value, None) for value, _ in row[:3]] for row in TABLE[:2]]
    data = workbook({"First": plain, "Second": TABLE})
    assert texts(data) == ["First", "Group: Families | Persons: 3 | Share: 0.15", "Second", *ROWS]


def edited(data: bytes, name: str, content: bytes | None) -> bytes:
    """Returns an archive with another content of one entry, or without it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
            elif content is not None:
                new.writestr(entry, content)
    return buffer.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
ENTITY = (
    b'<!DOCTYPE styleSheet [<!ENTITY a "9">]>'
    b'<styleSheet><cellXfs><xf numFmtId="&a;"/><xf numFmtId="&a;"/></cellXfs></styleSheet>'
)
"""With a document type, which could declare entities of any length."""
UNKNOWN = b'<styleSheet><cellXfs><xf numFmtId="9"/><xf numFmtId="9" x="&y;"/></cellXfs></styleSheet>'
"""Of an entity that nothing declares, which calamine overlooks."""
ENDLESS = b'<styleSheet><cellXfs><xf numFmtId="9"/><xf numFmtId="' + b"9" * 5_000 + b'"/></cellXfs></styleSheet>'
"""With a number that is too long to convert."""


@pytest.mark.parametrize("content", [None, UNKNOWN, ENDLESS, ENTITY], ids=["missing", "unknown", "endless", "entity"])
def test_numbers_are_read_without_styles_that_cannot_be(content: bytes | None) -> None:
    cells: Sequence[Sequence[Cell]] = [HEADER[:3], [("Families", None), (3, None), (0.15, 9)]]
    data = edited(workbook({"A": cells}), "xl/styles.xml", content)
    assert texts(data) == ["Group: Families | Persons: 3 | Share: 0.15"]


def test_styles_that_are_too_large_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_formats, "_MOST_BYTES", 100)
    assert texts(workbook({"A": [HEADER[:2], [("Families", None), (0.15, 9)]]})) == ["Group: Families | Persons: 0.15"]


def test_a_damaged_cell_costs_formats_alone() -> None:
    data = workbook({"A": [HEADER[:2], [("Families", None), (0.15, 9)], [("Clubs", None), (0.35, 9)]]})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sheet = archive.read(SHEET)
    assert sheet.count(b' s="1"') == 2
    damaged = sheet.replace(b' s="1"', b' s="' + b"1" * 5_000 + b'"', 1)
    assert texts(edited(data, SHEET, damaged)) == ["Group: Families | Persons: 0.15", "Group: Clubs | Persons: 0.35"]


def test_formats_of_conditions_are_none_of_cells() -> None:
    buffer = io.BytesIO()
    made = xlsxwriter.Workbook(buffer, {"in_memory": True})
    sheet = made.add_worksheet()
    for row, cells in enumerate([("Group", "Share"), ("Families", 0.15)]):
        sheet.write_row(row, 0, cells, made.add_format({"num_format": "0.000"}))
    shown = made.add_format({"num_format": '0.0"!"'})
    sheet.conditional_format("B2", {"type": "cell", "criteria": ">", "value": 9, "format": shown})
    made.close()
    with zipfile.ZipFile(buffer) as archive:
        styles = archive.read("xl/styles.xml")
    [of_cells, of_conditions] = re.findall(rb'numFmtId="(\d+)" formatCode', styles)
    styles = styles.replace(b'numFmtId="%s" formatCode' % of_conditions, b'numFmtId="%s" formatCode' % of_cells)
    assert texts(edited(buffer.getvalue(), "xl/styles.xml", styles)) == ["Group: Families | Share: 0.150"]


def test_formats_cannot_make_a_text_longer_than_a_file_may_have() -> None:
    long = '"' + "x" * 250 + '"0'
    data = workbook({"A": [[(n, long) for n in range(100)] for _ in range(10)]})
    with pytest.raises(UnreadableDocument) as refused:
        parse(data, "a.xlsx", ChunkBounds(characters=100_000))
    assert refused.value.code == "too_long"
