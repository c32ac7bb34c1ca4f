"""Parsing of documents of every format, valid and hostile."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas
from selectolax.lexbor import LexborHTMLParser, LexborNode

from serving.retrieval.builder import ChunkBounds
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import parse
from serving.retrieval.parsers import html
from serving.retrieval.types import Document

SECRET = "tangerine"


def pdf(*pages: str) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for page in pages:
        canvas.drawString(72, 720, page)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def encrypted_pdf() -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(SECRET))))
    writer.encrypt("password", algorithm="AES-256")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def docx() -> bytes:
    from docx import Document as new_docx

    document = new_docx()
    document.add_heading("Report", 1)
    document.add_heading("Costs", 2)
    document.add_paragraph("Costs fell.")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "year", "1957"
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def docx_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * 50_000_000)
    return buffer.getvalue()


def zip_with_repeated_entries(entries: int) -> bytes:
    """Returns an archive whose directory repeats one entry, while its end record counts only one."""
    one = zip_file()
    at = one.index(b"PK\x01\x02")
    entry, end = one[at:-22], one[-22:]
    size = (len(entry) * entries).to_bytes(4, "little")
    return one[:at] + entry * entries + end[:12] + size + end[16:]


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", SECRET)
    return buffer.getvalue()


def texts(document: Document) -> list[tuple[tuple[str, ...], str]]:
    return [(block.heading, block.text) for block in document.blocks]


def test_markdown_becomes_blocks() -> None:
    source = b"---\ntitle: Guide\n---\n# Setup\n\nRun `make up`.\nIt *works*.\n\n## Ports\n\n- API\n- page\n\n"
    source += b"|a|b|\n|-|-|\n|1|2|\n"
    document = parse(source, "guide.md")
    assert (document.kind, document.title) == ("markdown", "Guide")
    assert texts(document) == [
        (("Setup",), "Setup"),
        (("Setup",), "Run make up.\nIt works."),
        (("Setup", "Ports"), "Ports"),
        (("Setup", "Ports"), "API"),
        (("Setup", "Ports"), "page"),
        (("Setup", "Ports"), "a: 1 | b: 2"),
    ]


def test_html_becomes_blocks() -> None:
    source = b"""<!doctype html><title>Page</title><body><nav>menu</nav><main><h1>One</h1><p>First <b>bold</b> word.
    <p>Second.<script>alert(1)</script><h2>Two</h2><table><tr><td>a</td><td>b</td></tr></table></main>"""
    document = parse(source, "page.html")
    assert (document.kind, document.title) == ("html", "Page")
    assert texts(document) == [
        (("One",), "One"),
        (("One",), "First bold word."),
        (("One",), "Second."),
        (("One", "Two"), "Two"),
        (("One", "Two"), "a | b"),
    ]


def test_plain_text_becomes_blocks() -> None:
    document = parse("Première.\r\n\r\nZweite\nZeile.".encode(), "notes.txt")
    assert (document.kind, document.title, document.text) == ("text", "notes", "Première.\n\nZweite\nZeile.")


def test_utf16_with_a_byte_order_mark_is_text() -> None:
    assert parse("Grüße".encode("utf-16"), "a.txt").text == "Grüße"


def test_pdf_blocks_have_page_numbers() -> None:
    document = parse(pdf("First page.", "Second page."), "paper.pdf")
    assert [(b.text, b.page) for b in document.blocks] == [("First page.", 1), ("Second page.", 2)]


def test_docx_becomes_blocks() -> None:
    document = parse(docx(), "report.docx")
    assert (document.kind, document.title) == ("docx", "Report")
    assert texts(document)[-2:] == [(("Report", "Costs"), "Costs fell."), (("Report", "Costs"), "year | 1957")]


REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("empty", "a.txt", lambda: b" \n ", "empty"),
    ("only markup", "a.html", lambda: b"<html><body><p></p></body></html>", "empty"),
    ("unknown type", "a.exe", lambda: b"MZ", "unsupported"),
    ("no extension", "README", lambda: b"hello", "unsupported"),
    ("NUL", "a.txt", lambda: b"tangerine\x00", "not_text"),
    ("bad UTF-8", "a.md", lambda: b"tangerine \xff\xfe\xfa", "not_text"),
    ("PDF as text", "a.txt", lambda: pdf(SECRET), "wrong_type"),
    ("text as PDF", "a.pdf", lambda: b"tangerine", "wrong_type"),
    ("HTML as text", "a.txt", lambda: b"<!doctype html><p>tangerine", "wrong_type"),
    ("text as HTML", "a.html", lambda: b"tangerine", "wrong_type"),
    ("zip as DOCX", "a.docx", zip_file, "wrong_type"),
    ("DOCX as Markdown", "a.md", docx, "wrong_type"),
    ("encrypted PDF", "a.pdf", encrypted_pdf, "encrypted"),
    ("protected DOCX", "a.docx", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "encrypted"),
    ("truncated PDF", "a.pdf", lambda: pdf(SECRET)[:-60], "damaged"),
    ("hollow PDF", "a.pdf", lambda: b"%PDF-1.7\ntangerine\n%%EOF", "damaged"),
    ("truncated DOCX", "a.docx", lambda: docx()[:-400], "damaged"),
    ("DOCX bomb", "a.docx", docx_bomb, "too_large"),
]


@pytest.mark.parametrize(("name", "make", "code"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_an_unreadable_document_is_refused(name: str, make: Callable[[], bytes], code: str) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        parse(make(), name)
    assert caught.value.code == code
    assert SECRET not in caught.value.message


def test_too_many_characters_and_blocks_are_refused() -> None:
    with pytest.raises(UnreadableDocument, match="characters"):
        parse(b"word " * 100, "a.txt", ChunkBounds(characters=100))
    table = b"|a|b|\n|-|-|\n" + b"|1|2|\n" * 100
    with pytest.raises(UnreadableDocument, match="blocks"):
        parse(table, "a.md", ChunkBounds(blocks=50))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (b"<div>" * 500 + b"deep", "a.html"),
        (b"<p>a<li>b<td>c<br>" * 20_000 + b"deep", "a.html"),
        (b"<div><b>a</b><table><tr><td></div>b</table></div>" * 20_000 + b"deep", "a.html"),
        (b"<svg><g><path/><path /></svg>" * 20_000 + b"deep", "a.html"),
        (b"<script>" + b"for (i = 0; i<n; i++) s += '<b>';" * 1_000 + b"</SCRIPT>deep", "a.html"),
        (b"<title>" + b"<b>" * 1_000 + b"</title><style>" + b"<b>" * 1_000 + b"</style>deep", "a.html"),
        (b"<!-- " + b"<div>" * 1_000 + b" --><!-->deep", "a.html"),
        (b"> " * 40 + b"deep", "a.md"),
        (b"[" * 20_000 + b"deep", "a.md"),
        (b"<table>" + b"<tr><td>deep</td></tr>" * 20_000, "a.html"),
    ],
    ids=["html", "never deep", "walls", "drawing", "script", "raw", "comment", "quotes", "brackets", "table"],
)
def test_nesting_and_repetition_within_the_limits_are_read(source: bytes, name: str) -> None:
    assert "deep" in parse(source, name).text


@pytest.mark.parametrize("source", [b"> " * 5_000 + b"deep", b"".join(b" " * 2 * i + b"- x\n" for i in range(300))])
def test_markdown_nested_too_deeply_is_refused(source: bytes) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        parse(source, "a.md")
    assert caught.value.code == "too_complex"


@pytest.mark.parametrize(
    "source",
    [
        *("<div>", "<DIV a=1>", "<div></span></p>", "<div><table><tr><td></div>"),
        *("<a<b>", "<b/>", "<svg></g>", "<svg><td>", "<!-- --><b>"),
    ],
)
def test_a_page_nested_too_deeply_is_refused(source: str) -> None:
    with pytest.raises(UnreadableDocument, match="nested more than 500 levels deep") as caught:
        parse(b"<html>" + source.encode() * 501 + b"deep", "a.html")
    assert caught.value.code == "too_complex"


TAG = st.tuples(
    st.sampled_from(["<", "</"]),
    st.sampled_from(["div", "p", "li", "td", "table", "button", "template", "select", "ul"]),
    st.sampled_from([">", "/>", "> x"]),
)


@given(st.lists(TAG))
def test_the_counted_nesting_bounds_the_parsed_nesting(tags: list[tuple[str, str, str]]) -> None:
    """Elements that never nest in their own kind stand between others; each other one counts.

    Not: formatting, which a parser begins anew where it was cut off.
    """
    source = "".join(map("".join, tags))

    def depth(node: LexborNode) -> int:
        counted = node.tag not in html._NEVER_DEEP and not (node.tag or "-").startswith("-")
        return counted + max((depth(child) for child in node.iter()), default=0)

    if deep := depth(LexborHTMLParser(source).root):
        with pytest.raises(UnreadableDocument):
            html._refuse_deep(source, deep - 1)


@settings(max_examples=60)
@given(st.text(max_size=400), st.sampled_from(["a.md", "a.txt", "a.html"]))
def test_any_text_gives_blocks_that_slice_or_an_error(text: str, name: str) -> None:
    source = (f"<p>{text}" if name == "a.html" else text).encode("utf-8", "surrogatepass")
    try:
        document = parse(source, name)
    except UnreadableDocument:
        return
    end = 0
    for block in document.blocks:
        assert document.text[block.start : block.start + len(block.text)] == block.text
        assert not document.text[end : block.start].strip()
        end = block.start + len(block.text)
    assert end == len(document.text)


@settings(max_examples=60)
@given(
    st.binary(max_size=300), st.sampled_from([b"%PDF-1.4\n", b"PK\x03\x04", b""]), st.sampled_from(["a.pdf", "a.docx"])
)
def test_any_bytes_give_an_error_of_headrace(data: bytes, magic: bytes, name: str) -> None:
    with pytest.raises(UnreadableDocument):
        parse(magic + data + b"\n%%EOF", name)


def test_an_archive_of_many_entries_is_refused_before_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(zipfile.ZipFile(io.BytesIO(zip_with_repeated_entries(50))).infolist()) == 50
    data = zip_with_repeated_entries(10_001)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the archive was listed"))
    with pytest.raises(UnreadableDocument, match="10,000 entries"):
        parse(data, "a.docx")
