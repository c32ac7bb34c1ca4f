"""Converts table rows to blocks: each row repeats the column names, so that it can be understood by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from serving.retrieval.builder import DocumentBuilder

_OF_NUMBERS = frozenset("0123456789.,:/'%€$£ +-()TZ")
_LONGEST_NAME = 100
"""Maximum length of a column name in characters; a longer cell is ordinary text."""

Row = Sequence[str]


def add_table(
    builder: DocumentBuilder,
    rows: Iterable[Row],
    *,
    header: Row | None = None,
    headed: bool = False,
    page: int | None = None,
) -> None:
    """Adds a block for each row, as `name: value | name: value`, or as `value | value` without a header.

    Unless a header is given, the first row is one if it looks like it. For `headed` rows, such as those of a CSV file,
    it suffices that it could be names; for others, the rows below must differ from it.
    """
    found: Iterator[list[str]] = (row for row in map(cells, rows) if any(row))
    if header is None:
        first = list(islice(found, 1))
        sample = list(islice(found, 20))
        if first and _is_header(first[0], sample, headed):
            header = first[0]
            found = chain(sample, found)
        else:
            found = chain(first, sample, found)
    for text in _lines(found, cells(header or ()), builder):
        builder.add(text, page)


def cells(row: Row) -> list[str]:
    """Returns the texts of cells, each on one line."""
    return [" ".join(cell.split()) for cell in row]


def are_names(row: Row) -> bool:
    """Returns whether cells could be column names: several, all different; some may be years."""
    names = [cell for cell in row if cell]
    if len(names) < 2 or len(set(names)) < len(names) or not any(map(_is_name, names)):
        return False
    return all(_is_name(name) or _is_year(name) for name in names)


def _is_name(cell: str) -> bool:
    return len(cell) <= _LONGEST_NAME and not _is_number(cell)


def _is_number(cell: str) -> bool:
    """Returns whether a cell contains a number, an amount, a date or a time."""
    return any(map(str.isdecimal, cell)) and _OF_NUMBERS.issuperset(cell)


def _is_year(cell: str) -> bool:
    return len(cell) == 4 and cell.isascii() and cell.isdecimal() and cell[:2] in ("18", "19", "20")


def _is_header(first: Row, below: Sequence[Row], headed: bool) -> bool:
    if not below or not are_names(first):
        return False
    if headed or sum(map(bool, first)) > 2:
        return True
    # Two columns may be names and values, one pair per row: only numbers below a name show that it is a column's name.
    columns = [[row[i] for row in below if i < len(row) and row[i]] for i, cell in enumerate(first) if cell]
    return any(column and all(map(_is_number, column)) for column in columns)


def _lines(rows: Iterable[Row], header: Row, builder: DocumentBuilder) -> Iterator[str]:
    for row in rows:
        builder.require_room(sum(map(len, row)))
        names = [*header, *[""] * (len(row) - len(header))]
        parts = [f"{name}: {cell}" if name else cell for name, cell in zip(names, row, strict=False) if cell]
        if header or len(parts) == 1:
            yield " | ".join(parts)
        else:
            yield " | ".join(row)
