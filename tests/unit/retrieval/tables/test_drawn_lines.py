"""Which drawn lines of a PDF may be those of tables: strokes and the edges of areas, no curves."""

from __future__ import annotations

from collections.abc import Callable

import pypdfium2
import pytest
from reportlab.pdfgen.canvas import Canvas

from serving.retrieval.parsers.pdf_tags import TableTags
from serving.retrieval.parsers.pdf_text import layers
from serving.retrieval.parsers.pieces import DrawnLines
from tests.unit.retrieval.tables.documents import drawn


def lines_in(draw: Callable[[Canvas], None]) -> DrawnLines:
    def page(canvas: Canvas) -> None:
        draw(canvas)
        canvas.drawString(20, 20, "text")

    with pypdfium2.PdfDocument(drawn(page)) as document:
        [layer], _ = layers(document[0], TableTags(document), lambda count: None)
    return layer.rules


def curves(canvas: Canvas) -> None:
    """Curves whose points are those of a grid."""
    for n in range(6):
        canvas.bezier(100, 600 + 20 * n, 200, 600 + 20 * n, 300, 600 + 20 * n, 400, 600 + 20 * n)
        canvas.bezier(100 + 60 * n, 600, 100 + 60 * n, 633, 100 + 60 * n, 666, 100 + 60 * n, 700)
    canvas.circle(300, 300, 100)
    canvas.ellipse(100, 100, 200, 101, stroke=0, fill=1)


def wave(canvas: Canvas) -> None:
    """A curve that begins and ends with a straight part across."""
    path = canvas.beginPath()
    path.moveTo(100, 500)
    path.lineTo(200, 500)
    path.curveTo(200, 560, 300, 560, 300, 500)
    path.lineTo(400, 500)
    canvas.drawPath(path)


def test_curves_are_no_lines() -> None:
    assert lines_in(curves) == DrawnLines()


def test_only_the_straight_parts_of_a_path_are_lines() -> None:
    found = lines_in(wave)
    assert [(left, right) for _, left, right in found.horizontal] == [(100, 200), (300, 400)]
    assert found.vertical == ()


@pytest.mark.parametrize("filled", [True, False])
def test_the_sides_of_a_rounded_area_are_edges_and_those_of_a_rounded_border_are_lines(filled: bool) -> None:
    found = lines_in(lambda canvas: canvas.roundRect(100, 500, 200, 80, 10, stroke=not filled, fill=filled))
    lines = [(round(left), round(right)) for _, left, right in (found.edges if filled else found.horizontal)]
    assert lines == [(110, 290), (110, 290)]
    assert (found.horizontal, found.vertical) == ((), ()) if filled else found.edges == ()


def test_a_straight_area_as_thin_as_a_line_is_one() -> None:
    found = lines_in(lambda canvas: canvas.rect(100, 500, 200, 0.5, stroke=0, fill=1))
    assert [(round(left), round(right)) for _, left, right in found.horizontal] == [(100, 300)]
