"""What is read of each format, in which order, and what a table's rows say."""

from __future__ import annotations

import importlib.util
import io
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray
from pypdf import PdfWriter
from reportlab.pdfgen.canvas import Canvas

from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import parse
from serving.retrieval.parsers import ocr
from serving.retrieval.parsers.layout import Piece
from serving.retrieval.sandbox import parse_isolated
from serving.retrieval.types import Document
from tests.unit.retrieval import samples
from tests.unit.retrieval.samples import GATE_ROWS


def texts(document: Document) -> list[str]:
    return [block.text for block in document.blocks]


READ: list[tuple[str, bytes, str, str, list[str]]] = [
    ("a.csv", b"Gate,Height,Built\nNorth,3.2 m,1801\r\nSouth,4.1 m,1822\n", "csv", "a", GATE_ROWS),
    (
        "a.csv",
        b'Gate;Note\n"North";"Wide, and\nold"\nSouth;\n',
        "csv",
        "a",
        ["Gate: North | Note: Wide, and old", "Gate: South"],
    ),
    ("a.tsv", b"1\t2\n3\t4\n", "csv", "a", ["1 | 2", "3 | 4"]),
    ("a.csv", b"One,Two\n", "csv", "a", ["One | Two"]),
    (
        "a.json",
        b'{"a": 1.50, "b": [{"c": [1, null], "d": {"e": "f"}}]}',
        "json",
        "a",
        ["a: 1.50", "b", "c: 1, null\nd.e: f"],
    ),
    ("a.json", b'[[1, {"a": true}], "b"]', "json", "a", ["[0]: 1\n[1].a: true", "b"]),
    ("a.jsonl", b'{"a": "b"}\n\n{"a": "c"}\n', "jsonl", "a", ["a: b", "a: c"]),
    (
        "a.py",
        b"import os\n\nclass Gate:\n    def shut(self):\n        pass\n\n    high = 1\n",
        "python",
        "a.py",
        ["import os", "class Gate:", "    def shut(self):\n        pass", "    high = 1"],
    ),
    ("a.go", b"func (g Gate) Shut() {\n\tg.x()\n}\n", "go", "a.go", ["func (g Gate) Shut() {", "\tg.x()\n}"]),
    (
        "a.yaml",
        b"a: 1\n# on b\nb: 2\ngates:\n  - north\n",
        "yaml",
        "a.yaml",
        ["a: 1\n# on b\nb: 2", "gates:", "  - north"],
    ),
    (
        "a.html",
        b"<table><tr><th>Gate<th>Built<tr><td><p>North</p><td>old</table>",
        "html",
        "a",
        ["Gate: North | Built: old"],
    ),
    ("a.html", b"<table><tr><td><h2>Menu</h2><p>One</table>", "html", "Menu", ["Menu", "One", "|"]),
    ("a.docx", samples.docx(), "docx", "a", GATE_ROWS),
    ("b/a.xlsx", samples.xlsx(), "xlsx", "a", GATE_ROWS),
    ("a.pptx", samples.pptx(), "pptx", "Gates", ["Gates", "Two gates.", "Both open.", *GATE_ROWS, "Say when."]),
    (
        "a.eml",
        samples.eml(),
        "eml",
        "Grüße",
        [
            *("Grüße", "From: ann@example.com\nTo: bob@example.com\nAttachments: plan.pdf", "The gate is open."),
            *("Close it.", "Gate", "From: eve@example.com", "It jams."),
        ],
    ),
    (
        "a.msg",
        samples.msg(),
        "msg",
        "Keys",
        ["Keys", "From: <ann@example.com>\nTo: bob@example.com", "\n".join(["The keys are here."] * 300)],
    ),
    ("a.epub", samples.epub(), "epub", "On Canals", ["First", "Dug.", "Second", "Filled."]),
]


@pytest.mark.parametrize(
    ("name", "data", "kind", "title", "blocks"), READ, ids=[f"{r[2]}-{i}" for i, r in enumerate(READ)]
)
def test_a_document_of_each_format_is_read(name: str, data: bytes, kind: str, title: str, blocks: list[str]) -> None:
    document = parse(data, name)
    assert (document.kind, document.title, texts(document)) == (kind, title, blocks)


def test_sheets_are_read_table_by_table_without_hidden_ones() -> None:
    rows = [["Gates of the canal"], *samples.GATES, [], ["Keeper", "Since"], ["Ann", 1990], [], [], ["Ende"]]
    document = parse(
        samples.xlsx({"Canal": rows, "Draft": [["tangerine"]], "More": [["a", "b"]]}, hidden=["Draft"]), "a.xlsx"
    )
    assert texts(document) == [
        *("Canal", "Gates of the canal", *GATE_ROWS, "Keeper: Ann | Since: 1990", "Ende"),
        *("More", "a | b"),
    ]


def test_two_columns_of_names_and_values_have_no_header() -> None:
    assert texts(parse(b"<table><tr><td>Gate<td>North<tr><td>Keeper<td>Ann</table>", "a.html")) == [
        "Gate | North",
        "Keeper | Ann",
    ]


WORDS = "the water of an upper canal led through narrow gates into basins where it rested".split()  # noqa: SIM905


def two_columns(canvas: Canvas, seed: int) -> list[str]:
    """Draws a page as papers have them, and returns the words that its lines begin with, in the order of reading."""
    random = Random(seed)
    size, gutter, margin = random.choice([8, 9, 10, 11]), random.choice([14, 18, 24, 36]), random.choice([40, 60])
    width = (595 - 2 * margin - gutter) / 2
    top = 780.0
    order = []
    if seed % 2:
        canvas.setFont("Helvetica-Bold", 16)
        canvas.drawString(margin + 20, top, "TITLE over the whole width of this page here")
        order.append("TITLE")
        top -= 40
    canvas.setFont("Times-Roman", size)
    shift = random.choice([0, 0, 4])  # the lines of the columns need not stand at one height
    lines = []
    for column in range(2):
        y = top - shift * column
        for number in range(random.randint(12, 50)):
            text = f"{'LR'[column]}{number}"
            while canvas.stringWidth(f"{text} through", "Times-Roman", size) < width:
                text += f" {random.choice(WORDS)}"
            order.append(text.split()[0])
            lines.append((y, margin + column * (width + gutter), text))
            y -= 1.2 * size + (size if random.random() < 0.1 else 0)
    if seed % 3:  # some programs write a page line by line across it
        lines.sort(key=lambda line: -line[0])
    for y, x, text in lines:
        canvas.drawString(x, y, text)
    if seed % 4 == 0:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(
            margin, 60, "FOOTER that spans the page and both of its columns, from left to its right side."
        )
        order.append("FOOTER")
    canvas.showPage()
    return order


def test_pages_with_two_columns_are_read_column_by_column() -> None:
    orders = []
    data = samples.pdf(lambda canvas: orders.extend(two_columns(canvas, seed) for seed in range(20)))
    document = parse(data, "a.pdf")
    found = [
        [line.split()[0] for block in document.blocks if block.page == page for line in block.text.split("\n")]
        for page in range(1, 21)
    ]
    assert [page for page, (read, drawn) in enumerate(zip(found, orders, strict=True)) if read != drawn] == []


def test_a_table_in_a_pdf_is_read_row_by_row() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(60, 780, "The gates of the canal are listed below, with their heights and the year of each.")
        for number, row in enumerate(samples.GATES):
            for column, value in enumerate(row):
                canvas.drawString(60 + 150 * column, 740 - 15 * number, str(value))
        canvas.drawString(60, 680, "All of them are made of oak, and none was replaced since they were built there.")

    first, *rows, last = texts(parse(samples.pdf(draw), "a.pdf"))
    assert (first[:9], rows, last[:11]) == ("The gates", GATE_ROWS, "All of them")


OCR = pytest.mark.skipif(importlib.util.find_spec("rapidocr") is None, reason="the group `ocr` is not installed")


@OCR
def test_text_in_an_image_and_in_a_scan_is_recognised_in_the_sandbox() -> None:
    """The one test that runs the models, which takes seconds: they, and the drawing of a page, need what is walled."""
    lines = ("The north gate", "was built in 1801.")
    [block] = parse_isolated(samples.image(*lines, format="PDF"), "a.pdf").blocks
    assert (block.text, block.page) == ("\n".join(lines), 1)


@OCR
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_images_of_each_format_reach_text_recognition(monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    def recognised(image: NDArray[np.uint8]) -> list[Piece]:
        assert (image.shape, int(image.min()) < 30, int(image.max())) == ((250, 400, 3), True, 255)
        return [Piece("North", 0, 0, 9, 9)]

    monkeypatch.setattr(ocr, "recognised", recognised)
    assert texts(parse(samples.image("North", format=format), f"a.{format.lower()}")) == ["North"]


def test_images_and_scans_are_refused_without_text_recognition(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rapidocr" else find(name))
    for name, format in (("a.png", "PNG"), ("a.pdf", "PDF")):
        with pytest.raises(UnreadableDocument, match="make ocr") as caught:
            parse(samples.image("North", format=format), name)
        assert caught.value.code == "unsupported"
    writer = PdfWriter(clone_from=io.BytesIO(samples.image("North", format="PDF")))
    writer.append(io.BytesIO(samples.pdf(lambda canvas: canvas.drawString(72, 720, "South"))))
    buffer = io.BytesIO()
    writer.write(buffer)
    document = parse(buffer.getvalue(), "a.pdf")
    assert (document.text, document.unread_pages) == ("South", 1)
