"""The work for a page of a PDF is bounded by counts; a page that takes more is read line by line, with all its text."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from reportlab.pdfgen.canvas import Canvas

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.parse import parse
from serving.retrieval.parsers import layout
from serving.retrieval.parsers.layout import PageLayout
from serving.retrieval.parsers.pieces import CellTag, DrawnLines, Piece
from tests.unit.retrieval.tables.documents import drawn


def piece(text: str, left: float, top: float, tag: CellTag | None = None) -> Piece:
    width = 2.5 * len(text)
    words = (Piece(text + " ", left, top, left + width, top + 3),)
    return Piece(text, left, top, left + width, top + 3, words, "F 3", tag=tag)


def staircase() -> tuple[list[Piece], DrawnLines]:
    """Each line has two texts, which stand where no line above has one."""
    return [piece(f"{n}{'ab'[k]}", 9.5 * (n + k), 4 * n) for n in range(1500) for k in range(2)], DrawnLines()


def scattered() -> tuple[list[Piece], DrawnLines]:
    place = random.Random(7)
    return [piece(f"x{n}", place.uniform(0, 9000), place.uniform(0, 9000)) for n in range(6000)], DrawnLines()


def lattice() -> tuple[list[Piece], DrawnLines]:
    across = tuple((4.0 * n, 0.0, 1200.0) for n in range(299))
    down = tuple((4.0 * n, 0.0, 1200.0) for n in range(299))
    return [piece(f"{n}", 4 * n + 1, 4 * n + 0.5) for n in range(298)], DrawnLines(across, down)


def one_row() -> tuple[list[Piece], DrawnLines]:
    """A table in drawn lines whose first row has thousands of lines."""
    across = tuple((y, 0.0, 400.0) for y in (0.0, 30_000.0, 30_010.0))
    down = tuple((x, 0.0, 30_010.0) for x in (0.0, 100.0, 400.0))
    texts = [piece(f"{'w' * (n % 5 + 2)}{n}", 10 + 150 * (n % 2), 3.3 * n + 1) for n in range(6000)]
    return texts, DrawnLines(across, down)


def spans() -> tuple[list[Piece], DrawnLines]:
    """Described cells, each of which spans all rows below it."""
    tags = [CellTag(0, n, 800, k, k, False) for n in range(800) for k in range(2)]
    return [piece(f"{tag.top}", 20 * tag.first, 4 * tag.top, tag) for tag in tags], DrawnLines()


def short_rows() -> tuple[list[Piece], DrawnLines]:
    """Described rows with fewer cells than the table has columns."""
    tags = [CellTag(0, n, n, k, k, False) for n in range(400) for k in range(999 if n == 0 else 2)]
    return [piece("ab", 9.5 * tag.first, 4 * tag.top, tag) for tag in tags], DrawnLines()


def shifted_columns() -> tuple[list[Piece], DrawnLines]:
    """Three columns of text, whose lines are at different heights."""
    return [piece(f"{n}-{k}", 100 * k, 12 * n + 4 * k) for n in range(800) for k in range(3)], DrawnLines()


def many_texts_in_a_line() -> tuple[list[Piece], DrawnLines]:
    """Two lines with thousands of texts on both sides of one gap, below two lines that have only two."""
    wide = [piece("w" * 2400, 9000 * side, y) for y in (0.0, 3.9) for side in (0, 1)]
    places = [(6.0 * k + 9000 * side, y) for y in (7.8, 13.8) for side in (0, 1) for k in range(1000)]
    return [*wide, *(piece("a", x, y) for x, y in places)], DrawnLines()


def many_words() -> tuple[list[Piece], DrawnLines]:
    """A table without drawn lines, each of whose cells has dozens of words."""
    pieces = []
    for n in range(30):
        for k in range(40):
            words = [piece(f"{n % 10}", 200 * k + 2.7 * w, 4 * n) for w in range(40)]
            text = " ".join(word.text for word in words)
            pieces.append(Piece(text, words[0].left, 4 * n, words[-1].right, 4 * n + 3, tuple(words), "F 3"))
    return pieces, DrawnLines()


def lines_beside_tables() -> tuple[list[Piece], DrawnLines]:
    """Small tables far from each other, and thousands of edges of coloured areas."""
    pieces = [piece(f"{n}{r}{k}", 40 * k, 100 * n + 4 * r) for n in range(300) for r in range(3) for k in range(2)]
    return pieces, DrawnLines(edges=tuple((10.0 * n, 0.0, 5.0) for n in range(3000)))


def many_lattices() -> tuple[list[Piece], DrawnLines]:
    """Small tables in drawn lines, most without text, and much text elsewhere."""
    tops = [20.0 * n for n in range(100)]
    across = tuple((y + d, 0.0, 20.0) for y in tops for d in (0.0, 10.0))
    down = tuple((x, y, y + 10.0) for x in (0.0, 10.0, 20.0) for y in tops)
    pieces = [piece(f"{n}", 4, 20 * n + 4) for n in range(100)]
    return pieces + [piece(f"{n}", 500, 4 * n) for n in range(6000)], DrawnLines(across, tuple(sorted(down)))


def long_names() -> tuple[list[Piece], DrawnLines]:
    """A table in drawn lines whose names are those of a hundred columns each, and have a thousand lines."""
    ys = [0.0, 4000.0, 4010.0, 4020.0, 4030.0, 4040.0]
    across = tuple((y, 0.0, 4000.0) for y in ys)
    down = tuple((20.0 * n, 0.0 if n % 100 == 0 else 4000.0, 4040.0) for n in range(201))
    rows = [piece(f"{n}", 20 * n + 4, y + 4) for y in ys[1:-1] for n in range(200)]
    words = [f"{n}{'ab'[k]}" for n in range(1000) for k in range(2)]
    names = [piece(word, 500 + 2000 * (at % 2), 4 * (at // 2)) for at, word in enumerate(words)]
    return [replace(p, font="B 3", words=(replace(p.words[0], font="B 3"),)) for p in names] + rows, DrawnLines(
        across, down
    )


PAGES: Sequence[tuple[Callable[[], tuple[list[Piece], DrawnLines]], int]] = [
    (staircase, 50_000),
    (scattered, 50_000),
    (shifted_columns, 50_000),
    (many_texts_in_a_line, 150_000),
    (many_words, 200_000),
    (lattice, 50_000),
    (many_lattices, 50_000),
    (lines_beside_tables, 50_000),
    (one_row, 50_000),
    (long_names, 50_000),
    (spans, 50_000),
    (short_rows, 50_000),
]
"""Pages that take more work than the bound in their test."""


def calls(work: Callable[[], None]) -> int:
    """How many functions are called, built-in ones among them."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(("page", "work"), PAGES, ids=[page.__name__ for page, _ in PAGES])
def test_a_page_that_takes_too_much_work_is_read_line_by_line(
    monkeypatch: pytest.MonkeyPatch, page: Callable[[], tuple[list[Piece], DrawnLines]], work: int
) -> None:
    monkeypatch.setattr(layout, "WORK", work)
    pieces, rules = page()
    builder = DocumentBuilder("pdf", ChunkBounds())
    count = calls(lambda: PageLayout(builder).add_page(pieces, 1, rules))
    lines = layout.lines_of(pieces)
    expected = [" ".join(piece.text for piece in line.pieces) for line in lines]
    assert builder.build("a.pdf").text.split("\n") == expected
    words = sum(len(piece.words) for piece in pieces)
    assert count < 5 * work + 120 * len(pieces) + 10 * words + 350 * len(rules.horizontal + rules.vertical)


def test_a_dense_table_of_usual_size_is_read_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 rows of 15 columns, without drawn lines."""
    monkeypatch.setattr(layout, "WORK", layout.WORK // 10)
    rows = [[f"Row{n}", *(str(n * k) for k in range(1, 15))] for n in range(100)]

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 6)
        for n, row in enumerate([["Name", *(f"C{k}" for k in range(1, 15))], *rows]):
            for k, cell in enumerate(row):
                canvas.drawString(30 + 36 * k, 820 - 7.8 * n, cell)

    found = [block.text for block in parse(drawn(draw), "a.pdf").blocks]
    assert found == [" | ".join([f"Name: {row[0]}", *(f"C{k}: {row[k]}" for k in range(1, 15))]) for row in rows]
