"""The number formats of an Excel workbook's cells: a cell with 0.35 may show 35%, and one with 1234 may show 01234.

Calamine returns values alone. What people read, ask for and copy is what a cell shows.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import IO
from xml.parsers import expat

_BUILT_IN = {
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    9: "0%",
    10: "0.00%",
    37: "#,##0",
    38: "#,##0",
    39: "#,##0.00",
    40: "#,##0.00",
}
"""Formats that a workbook names by their number alone (ECMA-376, part 1, 18.8.30), without those of dates and times."""

_LONGEST = 255
"""Number of characters of a format that Excel allows."""
_MOST_DECIMALS = 30
_LARGEST = 10**15
"""From here on a float's digits are no longer all its own."""
_EXACT = Context(prec=60)
"""Enough digits for the largest number with most decimals."""
_MOST_BYTES = 20_000_000
"""The size of a part with formats or names of sheets that is read: Excel's 64,000 formats of cells take half of it."""

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|_.|\*.|\[\$(?P<currency>[^\]-]*)(?:-[^\]]*)?\]'
    r"|\[(?:Black|Blue|Cyan|Green|Magenta|Red|White|Yellow|Color ?\d+)\]"
    r"|(?P<digits>[0#?][0#?,]*(?:\.[0#?]*)?|\.[0#?]+)|(?P<literal>[$€£¥%+()\- :])|(?P<other>.)",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a number is shown: with `least` to `most` decimal places and at least `digits` digits before them."""

    before: str
    after: str
    digits: int
    least: int
    most: int
    grouped: bool
    percent: bool

    def render(self, value: float) -> str:
        """Returns the text of a number; a very large one is as it is stored."""
        exact = Decimal(repr(value)) * (100 if self.percent else 1)
        if not exact.is_finite() or abs(exact) >= _LARGEST:
            return str(value)
        rounded = abs(exact).quantize(Decimal(1).scaleb(-self.most), ROUND_HALF_UP, _EXACT)
        whole, _, places = f"{rounded:f}".partition(".")
        places = places[: self.least] + places[self.least :].rstrip("0")
        whole = whole.zfill(self.digits)
        if self.grouped:
            whole = f"{int(whole):,}"
        sign = "-" if exact < 0 and rounded else ""
        return f"{sign}{self.before}{whole}{'.' if places else ''}{places}{self.after}"


def number_format(code: str) -> NumberFormat | None:
    """Returns the format of positive numbers in a format code, or None if it does not show a number in full.

    That is so for `General`, dates, fractions, powers of ten, thousands as units, text, and digits with others between.
    """
    if len(code) > _LONGEST:
        return None
    before, after, digits, percent = "", "", "", False
    for token in _TOKEN.finditer(code):
        found = token.groupdict()
        if found["other"] == ";":
            break
        percent_again = percent and found["literal"] == "%"  # ten thousandths
        if found["other"] or percent_again or (found["digits"] and digits):
            return None
        if found["digits"]:
            digits = found["digits"]
            continue
        percent = percent or found["literal"] == "%"
        text = next((found[name] for name in ("quoted", "escaped", "currency", "literal") if found[name]), "")
        if digits:
            after += text
        else:
            before += text
    whole, _, places = digits.partition(".")
    if not digits or whole.endswith(",") or len(places) > _MOST_DECIMALS:
        return None
    return NumberFormat(
        before.lstrip(), after.rstrip(), whole.count("0"), places.count("0"), len(places), "," in whole, percent
    )


class CellFormats:
    """The formats of a workbook's cells. Those that cannot be read are left out, since numbers are told without."""

    def __init__(self, data: bytes) -> None:
        self._styles: list[NumberFormat | None] = []
        self._sheets: dict[str, str] = {}
        with suppress(Exception):  # the file is untrusted, and calamine tells what is wrong with it
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            self._styles = self._read_styles()
            self._sheets = self._read_sheets() if any(self._styles) else {}

    def of_sheet(self, name: str) -> Iterator[tuple[int, int, NumberFormat]]:
        """Yields row and column, from 0, and format of the cells that have one, in the order of the file."""
        if name not in self._sheets:
            return
        row = column = -1
        with suppress(Exception), self._archive.open(self._sheets[name]) as file:
            for element, attributes in _elements(file):
                if element == "row":
                    row, column = _number(attributes.get("r"), row + 2) - 1, -1
                elif element == "c":
                    column = _column(attributes.get("r"), column + 1)
                    style = _number(attributes.get("s"), 0)
                    if style < len(self._styles) and (format := self._styles[style]):
                        yield row, column, format

    def _read_styles(self) -> list[NumberFormat | None]:
        codes, of_cells, part = dict(_BUILT_IN), list[int](), ""
        for element, attributes in self._part("xl/styles.xml"):
            if element in ("numFmts", "cellStyleXfs", "cellXfs", "cellStyles", "dxfs"):
                part = element
            elif element == "numFmt" and part == "numFmts":  # others are those of conditions
                codes[_number(attributes.get("numFmtId"), 0)] = attributes.get("formatCode", "")
            elif element == "xf" and part == "cellXfs":
                of_cells.append(_number(attributes.get("numFmtId"), 0))
        known = {id: number_format(codes[id]) for id in set(of_cells) if id in codes}
        return [known.get(id) for id in of_cells]

    def _read_sheets(self) -> dict[str, str]:
        relations = self._part("xl/_rels/workbook.xml.rels")
        targets = {each.get("Id"): each.get("Target", "") for name, each in relations if name == "Relationship"}
        sheets = dict[str, str]()
        for name, sheet in self._part("xl/workbook.xml"):
            if name == "sheet":
                id = next((value for key, value in sheet.items() if key.endswith(":id")), None)
                path = posixpath.normpath(posixpath.join("/xl", targets.get(id, ""))).lstrip("/")
                sheets.setdefault(sheet.get("name", ""), path)
        return sheets

    def _part(self, path: str) -> Iterator[tuple[str, dict[str, str]]]:
        with self._archive.open(path) as file:
            if self._archive.getinfo(path).file_size > _MOST_BYTES:
                raise ValueError(f"{path} is too large")
            yield from _elements(file)


def _elements(file: IO[bytes]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the names, without prefix, and the attributes of elements as they begin; keeps none of them.

    Raises `ExpatError` for damaged XML, and `ValueError` for XML with a document type, which no workbook has.
    """
    begun = list[tuple[str, dict[str, str]]]()
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: begun.append((name.rpartition(":")[2], attributes))
    parser.StartDoctypeDeclHandler = _refuse
    while data := file.read(1 << 16):
        parser.Parse(data)
        yield from begun
        begun.clear()
    parser.Parse(b"", True)


def _refuse(*_: object) -> None:
    raise ValueError("the XML has a document type")


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else default


def _column(reference: str | None, default: int) -> int:
    """Returns the column of a reference such as AB12, counted from 0."""
    letters = (reference or "").rstrip("0123456789")
    return _of_letters(letters) if 0 < len(letters) <= 3 else default


@lru_cache(1024)
def _of_letters(letters: str) -> int:
    column = 0
    for letter in letters.upper():
        column = 26 * column + ord(letter) - ord("A") + 1
    return column - 1
