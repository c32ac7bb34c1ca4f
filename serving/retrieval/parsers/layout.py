"""Orders pieces of text on a page into blocks in reading order: columns one after the other, tables row by row.

Tables are found first: those that the file describes, then those in drawn lines, then those in gaps that persist over
rows. What remains is divided where vertical white space (a gutter) separates pieces side by side; pieces that cross it,
such as a title above two columns, divide the page into bands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median

from serving.retrieval.builder import DocumentBuilder
from serving.retrieval.parsers.pieces import (
    HYPHEN,
    DrawnLines,
    Interval,
    PageWork,
    Piece,
    Table,
    TooMuchWork,
    lines_of,
)
from serving.retrieval.parsers.table import add_table
from serving.retrieval.parsers.table_gaps import tables_by_gaps
from serving.retrieval.parsers.table_rules import ruled_tables
from serving.retrieval.parsers.table_tags import tagged_tables

_LINES = 2
"""Minimum number of lines on each side of a gutter."""
_STEPS = 200
"""Number of positions across a page where a gutter is looked for."""
WORK = 10_000_000
"""Steps that the arrangement of a page may take: a few seconds of processor time. A dense page takes a tenth of it."""
_SAME_PLACE = 3.0
"""Distance between the columns of a table and of its continuation, at most."""
_BETWEEN = 4
"""Lines of text between a table and its continuation, such as a page's foot and head, at most."""

Pieces = Sequence[Piece]


class PageLayout:
    """Adds pages to a document. A table that continues, on the next page or below a line of text, keeps its header."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._before: Table | None = None
        self._since = 0  # lines of text after that table

    def add_page(self, pieces: Pieces, page: int | None, rules: DrawnLines = DrawnLines()) -> None:  # noqa: B008  # immutable
        """Adds a page's paragraphs and table rows in reading order.

        A page is added line by line instead if its text would not be complete, or if its arrangement takes too much
        work, as that of a drawing with thousands of labels.
        """
        before = self._near()
        expected = before.columns if before is not None else ()
        try:
            parts = list(_parts(pieces, rules, expected, PageWork(WORK)))
        except TooMuchWork:
            parts = []
        if _missing(pieces, parts):
            parts = ["\n".join(" ".join(piece.text for piece in line.pieces) for line in lines_of(pieces))]
        for part in parts:
            if isinstance(part, str):
                self._since += part.count("\n") + 1
                self._builder.add(part.replace(HYPHEN, "-"), page)
            else:
                self._add_table(part, page)

    def _near(self) -> Table | None:
        """Returns the table that may continue here."""
        return self._before if self._since <= _BETWEEN else None

    def _add_table(self, table: Table, page: int | None) -> None:
        header = table.header
        before = self._near()
        self._since = 0
        if header is None and before is not None and _continues(before, table):
            header = before.header
            if header == table.rows[0]:
                table.rows.pop(0)
        for text in table.before:
            self._builder.add(text, page)
        found = add_table(self._builder, table.rows, header=header, page=page)
        self._before = Table(table.rows, table.columns, found or None)


def _continues(before: Table, table: Table) -> bool:
    """Returns whether a table without a header has the columns of the one before, which has one."""
    if before.header is None or len(before.columns) != len(table.columns):
        return False
    pairs = zip(before.columns, table.columns, strict=True)
    return all(
        abs(a[0] - b[0]) < _SAME_PLACE or abs(a[1] - b[1]) < _SAME_PLACE or abs(sum(a) - sum(b)) < _SAME_PLACE
        for a, b in pairs
    )


def _missing(pieces: Pieces, parts: Iterable[str | Table]) -> int:
    """Returns how many characters of a page's pieces its parts do not have."""
    given = _characters(piece.text for piece in pieces)
    for part in parts:
        given.subtract(_characters([part] if isinstance(part, str) else part.texts))
    return sum(number for number in given.values() if number > 0)


def _characters(texts: Iterable[str]) -> Counter[str]:
    return Counter(c for text in texts for c in text if not c.isspace() and c not in (HYPHEN, "-"))


def _parts(pieces: Pieces, rules: DrawnLines, expected: Sequence[Interval], work: PageWork) -> Iterator[str | Table]:
    """Yields a page's paragraphs and tables in reading order. Raises `TooMuchWork`."""
    found = tables_by_gaps(ruled_tables(tagged_tables(pieces, work), rules, work), rules, work, expected)
    for region in _regions(found, rules, work, 0):
        plain: list[Piece] = []
        for piece in region:
            if piece.table is None:
                plain.append(piece)
                continue
            yield from _paragraphs(plain)
            plain = []
            yield piece.table
        yield from _paragraphs(plain)


def _regions(pieces: Pieces, rules: DrawnLines, work: PageWork, depth: int) -> Iterator[list[Piece]]:
    """Yields parts of a page that are one column, from the top."""
    pieces = sorted(tables_by_gaps(pieces, rules, work), key=lambda piece: (piece.top, piece.left))
    place = _gutter(pieces, work) if depth < 8 else None
    if place is None:
        if pieces:
            yield pieces
        return
    outside: list[Piece] = []
    for crossing, run in _runs(pieces, place):
        outside += crossing
        if _sides(run, place):
            if outside:
                yield from _regions(outside, rules, work, depth + 1)
                outside = []
            yield from _regions([p for p in run if p.right <= place], rules, work, depth + 1)
            yield from _regions([p for p in run if p.right > place], rules, work, depth + 1)
        else:
            outside += run
    if outside:
        yield from _regions(outside, rules, work, depth + 1)


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


def _gutter(pieces: Pieces, work: PageWork) -> float | None:
    """Returns the position with most lines on both sides, in the middle of the white space."""
    if len(pieces) < 2 * _LINES:
        return None
    low, high = min(p.left for p in pieces), max(p.right for p in pieces)
    scores = []
    work.spend(_STEPS * len(pieces))
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


def _paragraphs(pieces: Pieces) -> Iterator[str]:
    """Groups the lines of a column into paragraphs by the space between them."""
    lines = lines_of(pieces)
    steps = [below.middle - above.middle for above, below in pairwise(lines)]
    usual = median(steps) if steps else 0.0
    texts: list[str] = []
    for at, line in enumerate(lines):
        if texts and steps[at - 1] > 1.35 * min(usual, 1.6 * line.pieces[0].height):
            yield _paragraph(texts)
            texts = []
        texts.append(" ".join(piece.text for piece in line.pieces))
    if texts:
        yield _paragraph(texts)


def _paragraph(lines: Sequence[str]) -> str:
    """Joins lines; a word that continues on the next line is made whole."""
    return "".join(line.rstrip(HYPHEN) if line.endswith(HYPHEN) else line + "\n" for line in lines).rstrip("\n")
