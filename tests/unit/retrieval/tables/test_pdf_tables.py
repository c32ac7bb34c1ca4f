"""Every cell of every table in a PDF is found in a chunk, behind its column's name and beside its row's first cell."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, FloatObject, NameObject, NumberObject, StreamObject
from reportlab.lib import colors
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, Table

from serving.retrieval.chunk import ChunkSettings, chunk
from serving.retrieval.parse import parse
from serving.retrieval.parsers import layout
from serving.retrieval.parsers.pieces import Piece
from serving.retrieval.text.tokens import TOKENIZER, WordPieces, package_file
from serving.retrieval.types import CELLS
from tests.unit.retrieval.tables.documents import DOCUMENTS, Known, drawn, not_found, prose, story, table


@pytest.fixture(scope="module")
def tokenizer() -> WordPieces:
    return WordPieces(Path(package_file(*TOKENIZER)))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_cell_is_found_with_its_column_and_row(name: str, tokenizer: WordPieces) -> None:
    make, tables = DOCUMENTS[name]
    document = parse(make(), "a.pdf")
    chunks = [each.text for each in chunk(document, tokenizer, ChunkSettings())]
    assert {name: [cell for known in tables for cell in not_found(known, chunks)]} == {name: []}, document.text


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("heading in the margin", ["Materials"]),
        ("heading in the margin, two lines", ["Materials", "of the repair"]),
        ("heading in the margin, beside rows", ["Materials", "of the repair"]),
        ("centred, heading left above", ["Gates"]),
        ("centred, grid, heading left above", ["Gates"]),
    ],
)
def test_a_heading_beside_a_table_is_no_part_of_it(name: str, heading: list[str]) -> None:
    make, [known] = DOCUMENTS[name]
    rows = [CELLS.join(f"{n}: {cell}" for n, cell in zip(known.header, row, strict=True)) for row in known.rows]
    assert [block.text for block in parse(make(), "a.pdf").blocks] == [*heading, *rows]


def test_a_page_whose_layout_would_lose_text_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def losing(pieces: Sequence[Piece], *more: object) -> list[Piece]:
        return list(pieces)[:-1]

    make, [known] = DOCUMENTS["at the left, between paragraphs"]
    data = make()
    monkeypatch.setattr(layout, "tables_by_gaps", losing)
    text = parse(data, "a.pdf").text
    assert [cell for row in known.rows for cell in row if cell not in text] == []
    assert text.endswith("days.")


def test_a_header_is_not_that_of_a_table_pages_later() -> None:
    rows = [["Ann Miller", "nuts"], ["Bob Carter", "none"], ["Cy Dean", "oats"]]
    patients = table(Known(["Patient", "Allergy"], rows), colWidths=[150, 150])
    fields = [["Street", "12 Mill Road"], ["Town", "Upper Denham"], ["Country", "none given"]]
    form = Table(fields, colWidths=[150, 150])
    between = [PageBreak(), prose(3), prose(3), PageBreak()]
    text = parse(story(patients, *between, form), "a.pdf").text
    assert "Patient: Ann Miller | Allergy: nuts" in text
    assert "12 Mill Road" in text
    assert "Patient: Street" not in text
    assert "Patient: Street | Allergy: 12 Mill Road" in parse(story(patients, PageBreak(), form), "a.pdf").text


def test_labels_of_a_map_are_no_table_of_empty_cells() -> None:
    places = random.Random(3)
    labels = ["".join(places.choices("abcdefgh", k=2)) for _ in range(500)]

    def scatter(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 6)
        for label in labels:
            canvas.drawString(places.uniform(40, 540), places.uniform(40, 800), label)

    text = parse(drawn(scatter), "a.pdf").text
    assert sorted("".join(labels)) == sorted(c for c in text if c.isalpha())
    assert len(text) < 5 * sum(map(len, labels))


def test_a_long_text_beside_many_rows_is_not_repeated_in_each() -> None:
    beside = "<br/>".join(f"Side note number {n}" for n in range(20))
    styles = [("GRID", (0, 0), (-1, -1), 1, colors.black), ("SPAN", (0, 0), (0, -1))]
    rows = [[Paragraph(beside) if not n else "", f"row {n}", str(n)] for n in range(25)]
    text = parse(story(Table(rows, style=styles)), "a.pdf").text
    assert text.count("Side note number 7") == 1
    assert all(f"row {n}" in text for n in range(25))


def without_letters(data: bytes) -> bytes:
    """The PDF with its word as drawings that have no names of letters, as old programs embed bitmaps."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    content = StreamObject()
    content.set_data(writer.pages[0].get_contents().get_data().replace(b"(tangerine)", rb"(\003\004\005)"))
    writer.pages[0][NameObject("/Contents")] = writer._add_object(content)
    box = StreamObject()
    box.set_data(b"6 0 d0 0 0 5 8 re f")
    drawings = DictionaryObject({NameObject("/box"): writer._add_object(box)})
    names = [NumberObject(0), *[NameObject("/box")] * 256]
    for font in writer.pages[0]["/Resources"]["/Font"].values():  # type: ignore[index]
        font.get_object().clear()
        font.get_object().update(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type3"),
                NameObject("/FontBBox"): ArrayObject(map(NumberObject, (0, 0, 6, 8))),
                NameObject("/FontMatrix"): ArrayObject(map(FloatObject, (0.1, 0, 0, 0.1, 0, 0))),
                NameObject("/CharProcs"): drawings,
                NameObject("/Encoding"): DictionaryObject({NameObject("/Differences"): ArrayObject(names)}),
                NameObject("/FirstChar"): NumberObject(0),
                NameObject("/LastChar"): NumberObject(255),
                NameObject("/Widths"): ArrayObject([NumberObject(6)] * 256),
            }
        )
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_characters_without_letters_are_counted() -> None:
    data = drawn(lambda canvas: canvas.drawString(72, 700, "tangerine"))
    legible = PdfWriter(clone_from=PdfReader(io.BytesIO(without_letters(data))))
    legible.append(io.BytesIO(data))
    buffer = io.BytesIO()
    legible.write(buffer)
    found = parse(buffer.getvalue(), "a.pdf")
    assert (found.text, found.unreadable, parse(data, "a.pdf").unreadable) == ("tangerine", 3, 0)
