"""Finds tables in drawn lines: where lines cross, they divide the page into cells."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.retrieval.parsers.pieces import REPEATED, DrawnLines, Interval, PageWork, Piece, covered, lines_of
from serving.retrieval.parsers.table import is_number
from serving.retrieval.parsers.table_rows import Cell, CellLine, Grid, Row, cell_of, rows_of, table_of

_TOUCH = 3.0
"""Distance in points within which two lines meet."""
_LINES = 600
"""Number of lines above which they are those of a drawing."""
_CELL_STEPS = 20
"""Steps of work that it takes to see between which lines a cell is."""
_SHARE = 0.5
"""Share of a cell's side that a line must cover to divide it from the next."""

_Rule = tuple[float, float, float]
_Area = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Lattice:
    """Crossing lines, sorted, and their heights and places, from the top and from the left."""

    across: list[_Rule]
    down: list[_Rule]
    ys: list[float]
    xs: list[float]

    def holds(self, piece: Piece) -> bool:
        return (
            self.xs[0] - _TOUCH <= piece.center <= self.xs[-1] + _TOUCH
            and self.ys[0] - _TOUCH <= piece.middle <= self.ys[-1] + _TOUCH
        )

    def wall(self, row: int, at: int) -> bool:
        """Returns whether a line divides the cells of a row at a place."""
        return _drawn(self.down, self.xs[at], self.ys[row], self.ys[row + 1])

    def floor(self, row: int, column: int) -> bool:
        """Returns whether a line divides a column below a row."""
        return _drawn(self.across, self.ys[row + 1], self.xs[column], self.xs[column + 1])


def ruled_tables(pieces: Sequence[Piece], rules: DrawnLines, work: PageWork) -> list[Piece]:
    """Returns the pieces of a page, with those of each table in drawn lines replaced by one that stands for it.

    Raises `TooMuchWork`.
    """
    left = list(pieces)
    for lattice in _lattices(rules):
        work.spend(len(left))
        inside = [piece for piece in left if piece.table is None and lattice.holds(piece)]
        found = _table(lattice, inside, work) if inside else None
        if found is not None:
            kept = {id(piece) for piece in inside}
            left = [piece for piece in left if id(piece) not in kept] + [found]
    return left


def _lattices(rules: DrawnLines) -> Iterator[_Lattice]:
    """Yields groups of lines that touch each other and enclose at least two columns."""
    across, down = rules.horizontal, rules.vertical
    if len(across) + len(down) > _LINES:
        return
    group = list(range(len(across) + len(down)))

    def root(at: int) -> int:
        while group[at] != at:
            group[at] = group[group[at]]
            at = group[at]
        return at

    for i, (y, x0, x1) in enumerate(across):
        for j, (x, y0, y1) in enumerate(down, len(across)):
            if x0 - _TOUCH <= x <= x1 + _TOUCH and y0 - _TOUCH <= y <= y1 + _TOUCH:
                group[root(j)] = root(i)
    members: dict[int, tuple[list[_Rule], list[_Rule]]] = {}
    for at in range(len(group)):
        sides = members.setdefault(root(at), ([], []))
        sides[at >= len(across)].append(across[at] if at < len(across) else down[at - len(across)])
    for across_here, down_here in members.values():
        ys = _places(across_here)
        for top, bottom in _joints(ys, down_here):
            here = [line for line in down_here if line[1] < bottom - _TOUCH and line[2] > top + _TOUCH]
            between = [line for line in across_here if top - _TOUCH <= line[0] <= bottom + _TOUCH]
            if here and between:
                xs = _places([*here, *(_sides(between, here) if len(_places(here)) > 1 else ())])
                if len(xs) > 2:
                    yield _Lattice(between, here, [y for y in ys if top <= y <= bottom], xs)


def _joints(ys: Sequence[float], down: Sequence[_Rule]) -> Iterator[Interval]:
    """Yields the parts of a group of lines that are tables of their own: no line runs on from one to the next."""
    start = 0
    for at in range(1, len(ys)):
        if at == len(ys) - 1 or not any(y0 < ys[at] - _TOUCH and y1 > ys[at] + _TOUCH for _, y0, y1 in down):
            yield ys[start], ys[at]
            start = at


def _sides(across: Sequence[_Rule], down: Sequence[_Rule]) -> Iterator[_Rule]:
    """Yields lines at the ends of others that are outside of all lines down: a table may have none at its sides."""
    low, high = min(down)[0] - _TOUCH, max(down)[0] + _TOUCH
    for _, left, right in across:
        yield from ((x, 0.0, 0.0) for x in (left, right) if x < low or x > high)


def _places(lines: Sequence[_Rule]) -> list[float]:
    places: list[float] = []
    for at in sorted(line[0] for line in lines):
        if not places or at - places[-1] > _TOUCH:
            places.append(at)
    return places


def _drawn(lines: list[_Rule], at: float, low: float, high: float) -> bool:
    near = lines[bisect_left(lines, (at - _TOUCH,)) : bisect_right(lines, (at + _TOUCH, float("inf")))]
    parts = [(max(a, low), min(b, high)) for _, a, b in near if b > low and a < high]
    return sum(b - a for a, b in covered(parts)) >= _SHARE * (high - low)


def _table(lattice: _Lattice, inside: Sequence[Piece], work: PageWork) -> Piece | None:
    """Returns the piece for a lattice's table; None if it is no table."""
    areas = _areas(lattice, work)
    found: list[tuple[_Area, CellLine]] = []
    for line in lines_of(inside):
        parts: dict[_Area, list[Piece]] = {}
        for word in line.words():
            row = min(max(bisect_right(lattice.ys, word.middle) - 1, 0), len(lattice.ys) - 2)
            column = min(max(bisect_right(lattice.xs, word.center) - 1, 0), len(lattice.xs) - 2)
            parts.setdefault(areas[row, column], []).append(word)
        for area, words in parts.items():
            _, first, _, last = area
            found.append((area, CellLine([cell_of(words, first, last)], line.middle, line.height)))
    length: Counter[_Area] = Counter()
    for area, part in found:
        length[area] += len(part.cells[0].text)
    lines: list[list[CellLine]] = [[] for _ in lattice.ys[1:]]
    for area, part in found:
        top, _, bottom, _ = area
        for row in range(top, bottom + 1) if length[area] <= REPEATED else (top,):
            lines[row].append(part)
    columns = [(lattice.xs[at], lattice.xs[at + 1]) for at in range(len(lattice.xs) - 1)]
    columns, lines = _without_empty(columns, lines)
    if len(columns) < 2:
        return None
    dividers = lattice.ys[1:-1]
    grid = Grid([line for row in lines for line in row], columns, work, dividers, ruled=True)
    rows: list[Row] = [row for row in lines if row]
    if len(rows) < 3 or any(_is_several(row) for row in rows):
        rows = rows_of(Grid(_joined_lines(grid.lines), columns, work, dividers, not any(map(_is_several, rows))))
    table = table_of(grid, rows)
    if table is None:
        return None
    return Piece("", lattice.xs[0], lattice.ys[0], lattice.xs[-1], lattice.ys[-1], table=table)


def _areas(lattice: _Lattice, work: PageWork) -> dict[tuple[int, int], _Area]:
    """Returns the cell at each row and column, as its first row and column and its last ones.

    Cells without a line between them are one; only rectangles are, since a line may be hidden behind text.
    """
    height, width = len(lattice.ys) - 1, len(lattice.xs) - 1
    work.spend(height * width * _CELL_STEPS + height * len(lattice.down) + width * len(lattice.across))
    spans: list[list[tuple[int, int]]] = []
    for row in range(height):
        starts = [0, *(at for at in range(1, width) if lattice.wall(row, at))]
        spans.append([(a, b - 1) for a, b in zip(starts, [*starts[1:], width], strict=True)])
    areas: dict[tuple[int, int], _Area] = {}
    for row in range(height):
        for first, last in spans[row]:
            if (row, first) in areas:
                continue
            bottom = row
            while (
                bottom + 1 < height
                and (first, last) in spans[bottom + 1]
                and not any(lattice.floor(bottom, column) for column in range(first, last + 1))
            ):
                bottom += 1
            for r in range(row, bottom + 1):
                for column in range(first, last + 1):
                    areas[r, column] = row, first, bottom, last
    return areas


def _without_empty(columns: list[Interval], lines: list[list[CellLine]]) -> tuple[list[Interval], list[list[CellLine]]]:
    """Leaves out columns without any text, such as the space between double lines."""
    used = sorted({column for row in lines for line in row for cell in line.cells for column in (cell.first,)})
    place = {column: at for at, column in enumerate(used)}

    def moved(cell: Cell) -> Cell:
        last = bisect_right(used, cell.last) - 1
        return Cell(cell.text, place[cell.first], last, cell.left, cell.right, cell.font)

    kept = [[CellLine([moved(c) for c in line.cells], line.middle, line.height) for line in row] for row in lines]
    extents = []
    for at, column in enumerate(used):
        following = used[at + 1] if at + 1 < len(used) else len(columns)
        extents.append((columns[column][0], columns[following - 1][1]))
    return extents, kept


def _is_several(row: Sequence[CellLine]) -> bool:
    """Returns whether the area between two lines has several rows: a column with numbers below each other."""
    columns: dict[int, list[str]] = {}
    for cell in (cell for line in row for cell in line.cells):
        columns.setdefault(cell.first, []).append(cell.text)
    return any(len(texts) > 1 and sum(map(is_number, texts)) >= max(2, len(texts) - 1) for texts in columns.values())


def _joined_lines(lines: Sequence[CellLine]) -> list[CellLine]:
    """Joins the cells of one line."""
    found: list[CellLine] = []
    for line in sorted(lines, key=lambda line: line.middle):
        if found and abs(line.middle - found[-1].middle) < 0.1:
            found[-1] = CellLine([*found[-1].cells, *line.cells], line.middle, line.height)
        else:
            found.append(line)
    return found
