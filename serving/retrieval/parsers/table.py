"""Converts table rows to blocks: each row repeats the column names, so that it can be understood by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from serving.retrieval.builder import DocumentBuilder
from serving.retrieval.types import CELLS

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
) -> list[str]:
    """Adds a block for each row, as `name: value | name: value`, or as `value | value` without a header.

    Returns the header, [] without one. Names of columns without any value are a block at the end.

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
    names = cells(header or ())
    unused = dict(enumerate(names))
    for row in found:
        for at in [at for at in unused if at < len(row) and row[at]]:
            del unused[at]
        builder.require_room(sum(map(len, row)))
        builder.add(_line(row, names), page, row=True)
    builder.add(CELLS.join(filter(None, unused.values())), page, row=True)
    return names


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
    return len(cell) <= _LONGEST_NAME and not is_number(cell)


def is_number(cell: str) -> bool:
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
    return any(column and all(map(is_number, column)) for column in columns)


def _line(row: Row, header: Row) -> str:
    names = [*header, *[""] * (len(row) - len(header))]
    parts = [f"{name}: {cell}" if name else cell for name, cell in zip(names, row, strict=False) if cell]
    return CELLS.join(parts if header or len(parts) == 1 else row)
