"""Turns the lines of a table, divided into cells, into rows and a header."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from serving.retrieval.parsers.pieces import Interval, PageWork, Piece, Table, joined
from serving.retrieval.parsers.table import is_number

LEADING = 1.3
"""Distance of two lines of one text, at most, in heights of a line (with ascent and descent)."""
_APART = 1.12
"""How much farther apart rows are than the lines within their cells, at least."""
_HEADER_ROWS = 3
_STEPS = 5
"""Steps of work that it takes to compare a cell with those above, or to add its text to a name."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of one line in the columns `first` to `last`, with its extent and font."""

    text: str
    first: int
    last: int
    left: float
    right: float
    font: str = ""


@dataclass(frozen=True, slots=True)
class CellLine:
    """A line of a table: its cells from left to right, its place and height."""

    cells: Sequence[Cell]
    middle: float
    height: float

    @property
    def filled(self) -> set[int]:
        return {cell.first for cell in self.cells}


def cell_of(words: Sequence[Piece], first: int, last: int) -> Cell:
    """Returns the cell that words on one line are."""
    text = "".join(word.text for word in words).strip()
    left, right = min(word.left for word in words), max(word.right for word in words)
    return Cell(text, first, last, left, right, words[0].font)


Row = list[CellLine]


@dataclass(frozen=True, slots=True)
class Grid:
    """The lines of a table, the extents of its columns, and the heights at which lines divide it.

    `ruled` says that drawn lines enclose each row. What reads the table spends `work`.
    """

    lines: Sequence[CellLine]
    columns: Sequence[Interval]
    work: PageWork
    dividers: Sequence[float] = ()
    ruled: bool = False


def rows_of(grid: Grid) -> list[Row]:
    """Groups the lines of a table into rows: a cell's text may go on in several lines. Raises `TooMuchWork`.

    Lines belong together where they are nearer to each other than rows are. Where all lines have one distance, a line
    without a first cell continues the row above it if its cells read on.
    """
    lines = grid.lines
    near = _near(grid)
    rows: list[Row] = []
    for line in lines:
        if rows:
            grid.work.spend(_STEPS * sum(len(each.cells) for each in rows[-1]))
        if rows and not _divided(grid, rows[-1][-1], line) and _continues(grid, rows[-1], line, near):
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def _near(grid: Grid) -> float:
    """Returns the greatest distance of lines within a cell, 0 if distances do not tell.

    It is the highest jump in the sorted distances that lies at the leading of a text.
    """
    steps = sorted((b.middle - a.middle) / max(min(a.height, b.height), 1e-9) for a, b in pairwise(grid.lines))
    found = 0.0
    for below, above in pairwise(steps):
        if below <= LEADING and above >= _APART * max(below, 0.5):
            found = below
    if not found and grid.ruled and steps and steps[0] <= LEADING:
        found = min(steps[-1], LEADING)
    return found


def _divided(grid: Grid, above: CellLine, below: CellLine) -> bool:
    at = bisect_left(grid.dividers, above.middle)
    return at < len(grid.dividers) and grid.dividers[at] < below.middle


def _continues(grid: Grid, row: Row, line: CellLine, near: float) -> bool:
    """Returns whether a line belongs to the row above it."""
    last = row[-1]
    step = (line.middle - last.middle) / max(min(line.height, last.height), 1e-9)
    if step > LEADING or (near and step > near * 1.02):
        return False
    if _both_numbers(row, line):
        return False
    if grid.ruled:
        return True
    filled = set().union(*(each.filled for each in row))
    shared = line.filled & filled
    if near:
        if step < 0.8 and not shared:  # cells that are centred beside an even number of lines
            return True
        return shared < (filled | line.filled) or _all_wrapped(grid, row, line)
    return 0 not in line.filled and bool(shared) and _reads_on(grid, row, line)


def _both_numbers(row: Row, line: CellLine) -> bool:
    """Returns whether a column has a number in both: numbers are not continued."""
    above = {cell.first: cell for each in row for cell in each.cells}
    return any(
        cell.first in above and is_number(cell.text) and is_number(above[cell.first].text) for cell in line.cells
    )


def _all_wrapped(grid: Grid, row: Row, line: CellLine) -> bool:
    """Returns whether all cells of a line that fills the row's columns read on from those above them."""
    several = any(" " in cell.text for each in (row[-1], line) for cell in each.cells)
    return several and _reads_on(grid, row, line)


def _reads_on(grid: Grid, row: Row, line: CellLine) -> bool:
    """Returns whether each cell continues the one above: its first word had no more space there."""
    above = {cell.first: cell for each in row for cell in each.cells}
    for cell in line.cells:
        before = above.get(cell.first)
        if before is None or is_number(cell.text):
            return False
        left, right = grid.columns[cell.first]
        first = cell.text.split(" ", 1)[0]
        width = (cell.right - cell.left) * len(first) / max(len(cell.text), 1)
        space = 0.2 * line.height
        if (before.right - before.left) + space + width < (right - left) - 0.1 * line.height:
            return False
    return True


def table_of(
    grid: Grid,
    rows: Sequence[Row],
    before: Sequence[str] = (),
    header_rule: float | None = None,
    named: int = 0,
) -> Table | None:
    """Returns the table with these rows; None if they are no table.

    `header_rule` is the height of the one line that is drawn below the first rows, `named` the number of first rows
    that are known to name columns. Raises `TooMuchWork`.
    """
    beside = sum(1 for row in rows if len(set().union(*(line.filled for line in row))) > 1)
    width = len(grid.columns)
    filled = sum(len(set().union(*(line.filled for line in row))) for row in rows)
    # Scattered labels, as of a map, would be rows of empty cells.
    if beside < 2 or 2 * beside < len(rows) or 4 * filled < width * len(rows):
        return None
    head = _header_rows(grid, rows, header_rule, named)
    once = {(line.middle, cell.left, cell.text): cell.text for line in grid.lines for cell in line.cells}
    body = [_texts(row, width) for row in rows[head.count :]]
    top, body = _title(body) if not head.count else (head.above, body)
    return Table(
        rows=body,
        columns=tuple(grid.columns),
        header=head.names or None,
        before=(*before, *top),
        texts=(*before, *once.values()),
    )


@dataclass(frozen=True, slots=True)
class _Head:
    """The header: the number of its rows, the names of the columns, and titles above them."""

    count: int = 0
    names: list[str] | None = None
    above: tuple[str, ...] = ()


def _header_rows(grid: Grid, rows: Sequence[Row], rule: float | None, named: int) -> _Head:
    """Finds the rows that name columns: by a line below them, by their font, or by a name that spans columns."""
    titles = 0
    while titles < min(2, len(rows) - 2) and _is_title(grid, rows[titles]):
        titles += 1
    rest = rows[titles:]
    count = max(named - titles, 0)
    if not count and rule is not None:
        count = sum(1 for row in rest if row[-1].middle < rule)
    count = count if 0 < count <= _HEADER_ROWS and count < len(rest) else _by_font(rest)
    spans = [any(cell.last > cell.first for line in row for cell in line.cells) for row in rest]
    if not count and spans and spans[0] and len(rest) > 2:
        count = 1
        while count < min(_HEADER_ROWS, len(rest) - 1) and not _has_numbers(rest[count]) and spans[count - 1]:
            count += 1
        if count == 1:
            count = 0
    if not count:
        return _Head()
    above = tuple(" ".join(part for part in _texts(row, len(grid.columns)) if part) for row in rows[:titles])
    return _Head(titles + count, _names(grid, rest[:count]), above)


def _is_title(grid: Grid, row: Row) -> bool:
    """Returns whether a row is one text over all columns, which names the table rather than a column."""
    cells = [cell for line in row for cell in line.cells]
    return len({cell.first for cell in cells}) == 1 and cells[0].last - cells[0].first == len(grid.columns) - 1


def _title(rows: list[list[str]]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Takes rows with only one text off the beginning of a table without a header."""
    count = 0
    while count < len(rows) - 2 and sum(map(bool, rows[count])) == 1 and sum(map(bool, rows[count + 1])) > 1:
        count += 1
    return tuple("".join(row) for row in rows[:count]), rows[count:]


def _by_font(rows: Sequence[Row]) -> int:
    """Returns the number of first rows in fonts in which most rows below them are not."""
    fonts = [{cell.font for line in row for cell in line.cells} for row in rows]
    own = fonts[0] if fonts else set()
    if not own or "" in own:
        return 0
    count = 0
    while count < min(_HEADER_ROWS, len(rows) - 1) and fonts[count] <= own:
        count += 1
    alike = sum(1 for font in fonts[count:] if font <= own)
    return count if 3 * alike <= len(rows) - count else 0


def _has_numbers(row: Row) -> bool:
    return any(is_number(cell.text) for line in row for cell in line.cells)


def _names(grid: Grid, rows: Sequence[Row]) -> list[str]:
    """Returns the name of each column: those of the groups that it is in, then its own."""
    width = len(grid.columns)
    grid.work.spend(_STEPS * width * sum(len(line.cells) for row in rows for line in row))
    names: list[list[str]] = [[] for _ in range(width)]
    for at, row in enumerate(rows):
        upper = at < len(rows) - 1
        places = _spread(grid, row) if upper else None
        parts: list[list[str]] = [[] for _ in range(width)]
        for line in row:
            for cell in line.cells:
                first, last = places[cell.first] if places else (cell.first, cell.last)
                for column in range(first, last + 1):
                    parts[column].append(cell.text)
        for column, texts in enumerate(parts):
            half = len(texts) // 2
            # Browsers repeat a header at the top of each column of text.
            text = joined(texts[:half] if texts[:half] == texts[half:] else texts)
            if text and text not in names[column]:
                names[column].append(text)
    return [" ".join(parts) for parts in names]


def _spread(grid: Grid, row: Row) -> dict[int, tuple[int, int]]:
    """Returns the columns that each cell of a header's upper row is above, by its first column.

    A name stands in the middle of its columns or at their left; no column is below two names.
    """
    cells = sorted({cell.first: cell for line in row for cell in line.cells}.values(), key=lambda cell: cell.first)
    places: dict[int, tuple[int, int]] = {}
    for at, cell in enumerate(cells):
        low = cells[at - 1].last + 1 if at else 0
        if at and places:
            low = max(low, places[cells[at - 1].first][1] + 1)
        high = cells[at + 1].first - 1 if at + 1 < len(cells) else len(grid.columns) - 1
        center = (cell.left + cell.right) / 2
        best, error = (cell.first, cell.last), float("inf")
        for first in range(low, cell.first + 1):
            for last in range(max(cell.last, first), high + 1):
                off = abs((grid.columns[first][0] + grid.columns[last][1]) / 2 - center)
                if off < error - 0.5:
                    best, error = (first, last), off
        starts = abs(grid.columns[cell.first][0] - cell.left)
        if starts < 1.0 and error > 3.0:
            best = cell.first, high
        places[cell.first] = best
    return places


def _texts(row: Row, width: int) -> list[str]:
    parts: list[list[str]] = [[] for _ in range(width)]
    for line in row:
        for cell in line.cells:
            parts[cell.first].append(cell.text)
    return [joined(texts) for texts in parts]
