"""Tables that a file itself describes: each text has a tag that says in which cell it is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from serving.retrieval.parsers.pieces import REPEATED, CellTag, Interval, PageWork, Piece, lines_of
from serving.retrieval.parsers.table_rows import CellLine, Grid, Row, cell_of, table_of

_STEPS = 20
"""Steps of work that it takes to place a cell in a row, or to compare it with a column."""


def tagged_tables(pieces: Sequence[Piece], work: PageWork) -> list[Piece]:
    """Returns the pieces of a page, with those of each described table replaced by one that stands for it.

    Raises `TooMuchWork`.
    """
    tables: dict[int, list[Piece]] = {}
    for piece in pieces:
        if piece.tag is not None:
            tables.setdefault(piece.tag.table, []).append(piece)
    found: list[Piece] = []
    taken: set[int] = set()
    for within in tables.values():
        table = _table(within, work)
        if table is not None:
            found.append(table)
            taken.update(map(id, within))
    return [*(piece for piece in pieces if id(piece) not in taken), *found]


def _table(pieces: Sequence[Piece], work: PageWork) -> Piece | None:
    """Returns the piece for a described table; None if its rows are no table, as in a page that a table arranges."""
    places = _places(pieces, work)
    numbers = sorted({row for tag in places for row in (tag.top, tag.bottom)})
    rows: list[Row] = [[] for _ in numbers]
    extents: dict[int, Interval] = {}
    length: Counter[CellTag] = Counter()
    for piece in pieces:
        if piece.tag is not None:
            length[piece.tag] += len(piece.text)
    for line in lines_of(pieces):
        for tag, group in groupby(line.pieces, key=lambda piece: piece.tag):
            if tag is None:
                continue
            cell = cell_of([word for piece in group for word in piece.words], *places[tag])
            if cell.first == cell.last:
                low, high = extents.get(cell.first, (cell.left, cell.right))
                extents[cell.first] = min(low, cell.left), max(high, cell.right)
            first = bisect_left(numbers, tag.top)
            end = bisect_right(numbers, tag.bottom) if length[tag] <= REPEATED else first + 1
            work.spend(_STEPS * (end - first))
            for row in rows[first:end]:
                row.append(CellLine([cell], line.middle, line.height))
    rows = [row for row in rows if row]
    columns = [extents.get(at, (0.0, 0.0)) for at in range(max(last for _, last in places.values()) + 1)]
    others = {tag.top for tag in places if not tag.names}
    named = next((at for at, number in enumerate(numbers) if number in others), len(numbers))
    grid = Grid([line for row in rows for line in row], columns, work, ruled=True)
    table = table_of(grid, rows, named=named)
    if table is None:
        return None
    left, right = min(piece.left for piece in pieces), max(piece.right for piece in pieces)
    return Piece("", left, min(p.top for p in pieces), right, max(p.bottom for p in pieces), table=table)


def _places(pieces: Sequence[Piece], work: PageWork) -> dict[CellTag, tuple[int, int]]:
    """Returns the first and last column of each cell, without columns that have no text.

    Browsers do not describe empty cells: in a row with too few, each cell is in the column above or below it.
    """
    extents: dict[CellTag, Interval] = {}
    for piece in pieces:
        if piece.tag is not None:
            left, right = extents.get(piece.tag, (piece.left, piece.right))
            extents[piece.tag] = min(left, piece.left), max(right, piece.right)
    widths: dict[int, int] = {}
    for tag in extents:
        widths[tag.top] = max(widths.get(tag.top, 0), tag.last + 1)
    width = max(widths.values())
    columns: dict[int, Interval] = {}
    for tag, (left, right) in extents.items():
        if widths[tag.top] == width and tag.first == tag.last:
            low, high = columns.get(tag.first, (left, right))
            columns[tag.first] = min(low, left), max(high, right)
    found = {tag: (tag.first, tag.last) for tag in extents}
    by_row = sorted((tag for tag in extents if widths[tag.top] < width), key=lambda tag: (tag.top, tag.first))
    for _, row in groupby(by_row, key=lambda tag: tag.top):
        following = 0
        for tag in row:
            work.spend(_STEPS * width)
            near = [(_distance(extents[tag], columns[at]), at) for at in range(following, width) if at in columns]
            at = max(min(near)[1], tag.first) if near else tag.first
            found[tag] = at, min(at + tag.last - tag.first, width - 1)
            following = found[tag][1] + 1
    used = sorted({first for first, _ in found.values()})
    return {tag: (bisect_left(used, a), bisect_right(used, b) - 1) for tag, (a, b) in found.items()}


def _distance(a: Interval, b: Interval) -> tuple[float, float]:
    """Returns how far apart two texts are, then how badly they align."""
    apart = max(a[0] - b[1], b[0] - a[1], 0.0)
    return apart, min(abs(a[0] - b[0]), abs(a[1] - b[1]), abs(sum(a) - sum(b)))
