"""Orders pieces of text on a page into blocks in reading order: columns one after the other, tables row by row.

A page is divided where vertical white space (a gutter) separates pieces side by side; pieces that cross it, such as a
title above two columns, divide the page into bands. Regions side by side are columns of prose, read one after the
other, or the cells of a table, read by rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from serving.retrieval.builder import DocumentBuilder
from serving.retrieval.parsers.table import add_table

HYPHEN = "\x02"
"""Ending of a piece whose last word continues on the next line."""

_LINES = 2
"""Minimum number of lines on each side of a gutter."""
_WORDS_OF_PROSE = 4
_FILLED = 0.7
"""Share of its column's width that a line of prose takes, approximately."""
_STEPS = 200
"""Number of positions across a page where a gutter is looked for."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text on one line, and its box: `top` is measured from the top of the page."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


Pieces = Sequence[Piece]


def add_page(builder: DocumentBuilder, pieces: Pieces, page: int | None) -> None:
    """Adds a page's paragraphs and table rows in reading order."""
    for region in _regions(sorted(pieces, key=lambda piece: (piece.top, piece.left)), 0):
        rows = _table(region)
        if rows:
            add_table(builder, rows, page=page)
        else:
            for paragraph in _paragraphs(region):
                builder.add(paragraph, page)


def _regions(pieces: list[Piece], depth: int) -> Iterator[list[Piece]]:
    """Yields parts of a page that are one column or one table; `pieces` are ordered from the top."""
    place = _gutter(pieces) if depth < 8 else None
    if place is None:
        if pieces:
            yield pieces
        return
    outside: list[Piece] = []
    for crossing, run in _runs(pieces, place):
        outside += crossing
        if _sides(run, place):
            if outside:
                yield from _regions(outside, depth + 1)
                outside = []
            for band in _bands(run):
                if _table(band):
                    yield band
                else:
                    yield from _regions([p for p in band if p.right <= place], depth + 1)
                    yield from _regions([p for p in band if p.right > place], depth + 1)
        else:
            outside += run
    if outside:
        yield from _regions(outside, depth + 1)


def _runs(pieces: Pieces, place: float) -> Iterator[tuple[list[Piece], list[Piece]]]:
    """Yields the pieces that cross a position, and the run of pieces beside it that follows."""
    crossing: list[Piece] = []
    run: list[Piece] = []
    for piece in pieces:
        if piece.left < place < piece.right:
            if run:
                yield crossing, run
                crossing, run = [], []
            crossing.append(piece)
        else:
            run.append(piece)
    yield crossing, run


def _bands(run: Pieces) -> Iterator[list[Piece]]:
    """Yields the tables of a run and the text between them, which are divided by horizontal white space.

    Prose that is divided by such a space is one band, since each column continues below it.
    """
    space = 0.8 * median(piece.height for piece in run)
    parts: list[list[Piece]] = []
    bottom = 0.0
    for piece in run:
        if not parts or piece.top - bottom > space:
            parts.append([])
        parts[-1].append(piece)
        bottom = max(bottom, piece.bottom)
    prose: list[Piece] = []
    for part in parts:
        if _table(part):
            if prose:
                yield prose
            yield part
            prose = []
        else:
            prose += part
    if prose:
        yield prose


def _sides(run: Pieces, place: float) -> int:
    """Returns how many lines are side by side in a run: 0 if one side has too few, or they do not overlap."""
    left = [piece for piece in run if piece.right <= place]
    right = [piece for piece in run if piece.right > place]
    if len(left) < _LINES or len(right) < _LINES:
        return 0
    shared = min(p[-1].bottom for p in (left, right)) - max(p[0].top for p in (left, right))
    if shared < _LINES * median(piece.height for piece in run):
        return 0
    return min(len(left), len(right))


def _gutter(pieces: Pieces) -> float | None:
    """Returns the position with most lines on both sides, in the middle of the white space."""
    if len(pieces) < 2 * _LINES:
        return None
    low, high = min(p.left for p in pieces), max(p.right for p in pieces)
    scores = []
    for step in range(1, _STEPS):
        place = low + (high - low) * step / _STEPS
        scores.append(sum(_sides(run, place) for _, run in _runs(pieces, place)))
    best = max(scores)
    if not best:
        return None
    first = scores.index(best)
    last = first
    while last + 1 < len(scores) and scores[last + 1] == best:
        last += 1
    return low + (high - low) * ((first + last) / 2 + 1) / _STEPS


def _table(pieces: Pieces) -> list[list[str]]:
    """Returns the rows of a region that is a table, none for prose."""
    columns = _columns(pieces)
    if len(columns) < 2:
        return []
    rows = [_cells(line, columns) for line in _lines(pieces)]
    beside = sum(1 for row in rows if sum(map(bool, row)) > 1)
    if beside < 2 or beside < 0.5 * len(rows) or all(_is_prose(pieces, column) for column in columns):
        return []
    merged: list[list[str]] = []
    for row in rows:
        if merged and not row[0]:  # a cell's continuation line
            merged[-1] = [f"{above} {cell}".strip() for above, cell in zip(merged[-1], row, strict=True)]
        else:
            merged.append(row)
    return merged if len(merged) > 1 else []


def _columns(pieces: Pieces) -> list[tuple[float, float]]:
    """Returns the intervals of the width that pieces cover, from left to right."""
    columns: list[tuple[float, float]] = []
    for piece in sorted(pieces, key=lambda piece: piece.left):
        if columns and piece.left < columns[-1][1]:
            columns[-1] = columns[-1][0], max(columns[-1][1], piece.right)
        else:
            columns.append((piece.left, piece.right))
    return columns


def _is_prose(pieces: Pieces, column: tuple[float, float]) -> bool:
    left, right = column
    within = [piece for piece in pieces if left <= piece.left < right]
    words = median(len(piece.text.split()) for piece in within)
    filled = median(piece.right - piece.left for piece in within) / max(right - left, 1e-9)
    return words >= _WORDS_OF_PROSE and filled >= _FILLED


def _cells(line: Pieces, columns: Sequence[tuple[float, float]]) -> list[str]:
    texts: list[list[str]] = [[] for _ in columns]
    for piece in line:
        at = next(i for i, (_, right) in enumerate(columns) if piece.left < right or i == len(columns) - 1)
        texts[at].append(piece.text.rstrip(HYPHEN))
    return [" ".join(parts) for parts in texts]


def _lines(pieces: Pieces) -> list[list[Piece]]:
    """Groups pieces that are side by side into lines, from left to right."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.middle):
        if lines and piece.middle - lines[-1][0].middle < 0.5 * min(piece.height, lines[-1][0].height):
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [sorted(line, key=lambda piece: piece.left) for line in lines]


def _paragraphs(pieces: Pieces) -> Iterator[str]:
    """Groups the lines of a column into paragraphs by the space between them."""
    lines = _lines(pieces)
    steps = [below[0].middle - above[0].middle for above, below in pairwise(lines)]
    usual = median(steps) if steps else 0.0
    text = ""
    for at, line in enumerate(lines):
        words = " ".join(piece.text for piece in line)
        if text and steps[at - 1] > 1.35 * min(usual, 1.6 * line[0].height):
            yield text.rstrip(HYPHEN)
            text = ""
        between = "\n" if text and not text.endswith(HYPHEN) else ""
        text = text.rstrip(HYPHEN) + between + words
    yield text.rstrip(HYPHEN)
