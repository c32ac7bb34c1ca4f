"""Finds tables without drawn lines: columns are divided by gaps that persist over rows."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from serving.retrieval.parsers.pieces import (
    DrawnLines,
    Interval,
    PageWork,
    Piece,
    Table,
    TextLine,
    covered,
    joined,
    lines_of,
)
from serving.retrieval.parsers.table_regions import GUTTER, SEGMENT, gaps, parts_of, region_from
from serving.retrieval.parsers.table_rows import Cell, CellLine, Grid, cell_of, rows_of, table_of

_USUAL_GUTTER = 0.4
"""Width of the gap between the texts of two columns in most rows, at least: more than the space between words."""
_HEAD = 4
"""Number of lines at the top of a page among which the last row of a table may be."""
_WORDS_OF_PROSE = 4
_FILLED = 0.7
"""Share of its column's width that a line of prose takes, approximately."""
_LINES_OF_PROSE = 4
_MARKER = re.compile(r"[•◦▪‣∙·*–—-]|\(?(\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]")


def tables_by_gaps(
    pieces: Sequence[Piece], rules: DrawnLines, work: PageWork, expected: Sequence[Interval] = ()
) -> list[Piece]:
    """Returns the pieces, with those of each table replaced by one that stands for it. Raises `TooMuchWork`.

    `expected` are the columns of a table that may continue here: then one row in them suffices for the first table.
    """
    found: list[Piece] = []
    taken: set[int] = set()
    plain = [piece for piece in pieces if piece.table is None]
    others = [piece for piece in pieces if piece.table is not None]
    heights = sorted(other.middle for other in others)
    lines = lines_of(plain)
    at = 0
    while at < len(lines):
        region, after = region_from(lines, at, heights, work)
        for lines_here, spans in parts_of(region) if region is not None else ():
            table = _table(lines_here, spans, rules, work)
            table = table or (_last_row(lines_here, expected) if at < _HEAD else None)
            expected = ()
            if table is not None:
                found.append(table)
                taken.update(id(piece) for line in lines_here for piece in line.pieces)
        at = after
    return [*others, *(piece for piece in plain if id(piece) not in taken), *found]


def _table(lines: Sequence[TextLine], spans: set[int], rules: DrawnLines, work: PageWork) -> Piece | None:
    """Returns the piece for a table; None if the lines are none."""
    plain = [line for number, line in enumerate(lines) if number not in spans]
    if len(plain) < 2:
        return None
    columns = _columns(plain)
    beside, columns = _side_heading(plain, columns)
    work.spend(len(columns) * sum(max(len(piece.words), 1) for line in lines for piece in line.pieces))
    work.spend(len(rules.horizontal) + len(rules.edges))
    if len(columns) < 2 or _is_prose_beside(plain, columns):
        return None
    bounds = [(a[1] + b[0]) / 2 for a, b in pairwise(columns)]
    cells = [_cells(line, columns, bounds, number in spans, beside) for number, line in enumerate(lines)]
    kept = [CellLine(found, line.middle, line.height) for line, found in zip(lines, cells, strict=True) if found]
    if _is_list(kept):
        return None
    left, right = columns[0][0], columns[-1][1]
    top, bottom = lines[0].top, lines[-1].bottom
    drawn = _dividers(rules, left, right, lines)
    grid = Grid(kept, columns, work, drawn)
    rows = rows_of(grid)
    rule = drawn[0] if len(drawn) == 1 or (drawn and len(drawn) < len(rows) - 2) else None
    table = table_of(grid, rows, tuple(beside.values()), rule)
    if table is None:
        return None
    left = min([left, *(piece.left for line in lines for piece in line.pieces)])
    right = max([right, *(piece.right for line in lines for piece in line.pieces)])
    return Piece("", left, top, right, bottom, table=table)


def _last_row(lines: Sequence[TextLine], columns: Sequence[Interval]) -> Piece | None:
    """Returns the piece for a table's last row, alone on its page: its texts begin or end where the columns do."""
    if not columns or len(lines) > _LINES_OF_PROSE:
        return None
    bounds = [(a[1] + b[0]) / 2 for a, b in pairwise(columns)]
    for line in lines:
        for left, right in line.intervals(SEGMENT):
            a, b = columns[bisect_right(bounds, (left + right) / 2)]
            if min(abs(left - a), abs(right - b), abs(left + right - a - b)) > 0.3 * line.height:
                return None
    cells = [cell for line in lines for cell in _cells(line, columns, bounds, False, {})]
    row = [joined([cell.text for cell in cells if cell.first == at]) for at in range(len(columns))]
    if sum(map(bool, row)) < 2:
        return None
    table = Table([row], tuple(columns), texts=tuple(cell.text for cell in cells))
    left, right = min(cell.left for cell in cells), max(cell.right for cell in cells)
    return Piece("", left, lines[0].top, right, lines[-1].bottom, table=table)


def _columns(lines: Sequence[TextLine]) -> list[Interval]:
    """Returns the extents of columns: what texts cover, without gaps that are no wider than the space between words."""
    cover = covered([part for line in lines for part in line.intervals()])
    height = median(line.height for line in lines) if lines else 0.0
    texts = [line.intervals(0.0) for line in lines]
    columns: list[Interval] = []
    for part in cover:
        if columns:
            found = []
            for here in texts:
                before = [b for _, b in here if b <= part[0]]
                after = [a for a, _ in here if a >= part[0] - 1e-6]
                if before and after and before[-1] > columns[-1][0]:
                    found.append(after[0] - before[-1])
            if part[0] - columns[-1][1] < GUTTER * height or (found and median(found) < _USUAL_GUTTER * height):
                columns[-1] = columns[-1][0], part[1]
                continue
        columns.append(part)
    return columns


def _side_heading(lines: Sequence[TextLine], columns: list[Interval]) -> tuple[dict[int, str], list[Interval]]:
    """Takes a heading beside the table off its columns: the first one, if it has text only at the top.

    Returns the heading's texts by the ids of their pieces.
    """
    if len(columns) < 3 or len(lines) < 3:
        return {}, columns
    edge = (columns[0][1] + columns[1][0]) / 2
    within = [[piece for piece in line.pieces if piece.right <= edge] for line in lines]
    filled = [number for number, pieces in enumerate(within) if pieces]
    if not filled or filled != list(range(len(filled))) or 3 * len(filled) > len(lines):
        return {}, columns
    fonts = {piece.font for pieces in within for piece in pieces}
    others = {piece.font for line in lines for piece in line.pieces if piece.left >= edge}
    spaces = [b - a for a, b in gaps(columns)]
    if len(filled) > 1 and fonts & others and spaces[0] < 1.5 * max(spaces[1:]):
        return {}, columns
    return {id(piece): piece.text for pieces in within for piece in pieces}, columns[1:]


def _cells(
    line: TextLine, columns: Sequence[Interval], bounds: Sequence[float], spanning: bool, beside: dict[int, str]
) -> list[Cell]:
    """Divides a line into cells; a text that crosses gaps is one cell of several columns."""
    kept = [piece for piece in line.pieces if id(piece) not in beside]
    if not kept:
        return []
    if not spanning:
        parts: dict[int, list[Piece]] = {}
        for word in TextLine(kept).words():
            parts.setdefault(bisect_right(bounds, word.center), []).append(word)
        return [cell_of(words, column, column) for column, words in sorted(parts.items())]
    texts: list[list[Piece]] = []
    limit = 0.3 * line.height
    read = list(TextLine(kept).words())  # in the direction of their script
    order = {id(word): number for number, word in enumerate(read)}
    for word in sorted(read, key=lambda word: word.left):
        near = bool(texts) and word.left - texts[-1][-1].right <= limit
        if near and not _is_edge(texts[-1][-1], word, columns, bounds, 0.15 * line.height):
            texts[-1].append(word)
        else:
            texts.append([word])
    cells: list[Cell] = []
    for words in texts:
        left, right = min(word.left for word in words), max(word.right for word in words)
        at = [number for number, (a, b) in enumerate(columns) if a < right and b > left]
        first, last = (at[0], at[-1]) if at else (bisect_right(bounds, (left + right) / 2),) * 2
        cells.append(cell_of(sorted(words, key=lambda word: order[id(word)]), first, last))
    return cells


def _is_edge(before: Piece, word: Piece, columns: Sequence[Interval], bounds: Sequence[float], near: float) -> bool:
    """Returns whether the space between two words is that between columns, with whose edges they align."""
    at = bisect_right(bounds, before.center)
    if at != bisect_right(bounds, word.center) - 1:
        return False
    return abs(word.left - columns[at + 1][0]) < near or abs(before.right - columns[at][1]) < near


def _is_list(lines: Sequence[CellLine]) -> bool:
    """Returns whether the first column has only the markers of list items."""
    marks = [cell.text for line in lines for cell in line.cells if cell.first == 0]
    others = {cell.first for line in lines for cell in line.cells if cell.first}
    return bool(marks) and len(others) == 1 and all(_MARKER.fullmatch(mark) for mark in marks)


def _is_prose_beside(lines: Sequence[TextLine], columns: Sequence[Interval]) -> bool:
    """Returns whether the columns are those of a page: all are prose, or one is whose lines others do not share."""
    prose = [column for column in columns if _is_prose(lines, column)]
    if len(prose) == len(columns):
        return True
    for left, right in prose:
        others = [piece for line in lines for piece in line.pieces if piece.right <= left or piece.left >= right]
        within = [piece for line in lines for piece in line.pieces if left <= piece.center <= right]
        if len(within) < _LINES_OF_PROSE or not others:
            continue
        at = sorted(piece.middle for piece in within)
        shared = 0
        for line in lines_of(others):
            near = bisect_right(at, line.middle)
            distance = min(abs(line.middle - at[n]) for n in (near - 1, near) if 0 <= n < len(at))
            shared += distance <= 0.12 * line.height
        steps = sorted(b - a for a, b in pairwise(at))
        flowing = steps[-1] < 1.12 * steps[0]
        if flowing and shared < 0.75 * len(lines_of(others)):
            return True
    return False


def _is_prose(lines: Sequence[TextLine], column: Interval) -> bool:
    left, right = column
    within = [[word for word in line.words() if left <= word.center <= right] for line in lines]
    within = [words for words in within if words]
    if not within:
        return False
    words = median(sum(len(word.text.split()) for word in found) for found in within)
    filled = median(max(w.right for w in found) - min(w.left for w in found) for found in within)
    return words >= _WORDS_OF_PROSE and filled >= _FILLED * max(right - left, 1e-9)


def _dividers(rules: DrawnLines, left: float, right: float, lines: Sequence[TextLine]) -> list[float]:
    """Returns the heights of lines that are drawn across most of a table, between its first and last line."""
    found = sorted(
        y
        for y, x0, x1 in (*rules.horizontal, *rules.edges)
        if min(x1, right) - max(x0, left) > 0.6 * (right - left) and lines[0].middle < y < lines[-1].middle
    )
    return [y for number, y in enumerate(found) if not number or y - found[number - 1] > 3.0]
