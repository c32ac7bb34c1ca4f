"""Small files that expand to much text are refused while the text grows, in every format, and in the confined child."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from docx import Document as new_docx
from reportlab.pdfgen.canvas import Canvas

from serving.retrieval.builder import ChunkBounds
from serving.retrieval.chunk import ChunkSettings
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import parse
from serving.retrieval.sandbox import ParserLimits, chunk_isolated, chunking_limits, parse_isolated
from tests.unit.retrieval import samples

PARAGRAPH = "word " * 2_000
WORDS = "word " * 300_000


def shared_string(rows: int, columns: int) -> bytes:
    """Returns a sheet whose cells are all one string of 32,000 characters, which the file has once."""
    return samples.xlsx({"Sheet": [["word " * 6_400] * columns] * rows})


def repeated_chapter() -> bytes:
    spine = '<itemref idref="b"/>' * 3_000
    pages = {"OPS/two.xhtml": f"<html><body><p>{PARAGRAPH}</p></body></html>"}
    return samples.epub(**pages, **{"OPS/book.opf": samples.BOOK.replace("<spine>", f"<spine>{spine}")})


def repeated_form() -> bytes:
    def draw(canvas: Canvas) -> None:
        canvas.beginForm("all")
        for line in range(50):
            canvas.drawString(10, 20 + 15 * line, "word " * 30)
        canvas.endForm()
        for _ in range(300):
            canvas.doForm("all")

    return samples.pdf(draw)


def compressed_docx() -> bytes:
    document, buffer = new_docx(), io.BytesIO()
    document.add_paragraph(WORDS)
    document.save(buffer)
    return buffer.getvalue()


def long_path() -> bytes:
    """Returns JSON of 2 MB whose lines would have 20 GB, since each begins with the whole path."""
    return json.dumps({"top": {"k" * 100_000: [{"a": 1}] * 200_000}}).encode()


def long_headings() -> bytes:
    """Returns Markdown whose headings, which are no tokens, would be repeated in each of 10,000 chunks."""
    path = "".join(f"{'#' * level} {chr(0xAD) * 299}{level}\n" for level in range(1, 6))
    return (path + "".join(f"###### {n}\n\nb\n\n" for n in range(10_000))).encode()


EXPANDING: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a shared string": ("a.xlsx", lambda: shared_string(610, 1)),
    "a shared string in one row": ("a.xlsx", lambda: shared_string(1, 16_000)),
    "a repeated chapter": ("a.epub", repeated_chapter),
    "a repeated form": ("a.pdf", repeated_form),
    "a compressed paragraph": ("a.docx", compressed_docx),
    "a long header": ("a.html", lambda: f"<table><tr><th>{PARAGRAPH}<th>a{'<tr><td>1' * 1_000}</table>".encode()),
    "a long path": ("a.json", long_path),
    "long names of columns": ("a.csv", lambda: f"{'c' * 100},{'d' * 100}\n".encode() + b"1,2\n" * 20_000),
}


@pytest.mark.parametrize(("name", "make"), EXPANDING.values(), ids=list(EXPANDING))
def test_a_file_that_expands_is_refused_while_it_does(name: str, make: Callable[[], bytes]) -> None:
    """The child has too little memory for the whole text of the longest."""
    data = make()
    most = min(max(1_000_000, 20 * len(data)), 20_000_000)
    with pytest.raises(UnreadableDocument) as caught:
        chunk_isolated(data, name, ChunkSettings())
    assert (caught.value.code, f"{most:,} characters" in caught.value.message) == ("too_long", True)


def test_headings_that_expand_the_chunks_are_refused() -> None:
    data = long_headings()
    assert parse(data, "a.md").text
    with pytest.raises(UnreadableDocument, match="headings"):
        chunk_isolated(data, "a.md", ChunkSettings())


def test_text_itself_does_not_expand() -> None:
    assert parse(WORDS.encode(), "a.txt").text == WORDS.strip()
    assert len(parse_isolated(WORDS.encode(), "a.md", ParserLimits()).text) == len(WORDS.strip())


def test_bounds_follow_from_the_size_of_a_file() -> None:
    bounds = ChunkBounds()
    assert [bounds.of_file(size).characters for size in (1, 50_000, 60_000, 10**9)] == [
        1_000_000,
        1_000_000,
        1_200_000,
        20_000_000,
    ]
    assert ChunkBounds(characters=500).of_file(10**9).characters == 500
    assert [chunking_limits(size).cpu_s for size in (1, 1_000_000, 10**9)] == [30, 150, 300]
    assert chunking_limits(10**9, ChunkBounds(characters=500)).bounds.characters == 500
