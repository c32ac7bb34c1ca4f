"""Attacks by documents: for each format, small and valid files that become much text, or many chunks."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from email.message import EmailMessage

from docx import Document as new_docx
from pptx import Presentation
from pptx.util import Inches
from reportlab.pdfgen.canvas import Canvas

from tests.unit.retrieval import samples
from tests.unit.retrieval.compound_file import outlook_message

Make = Callable[[int], bytes]
"""Makes a file that becomes about so many characters of text."""

SENTENCE = "The heron stands still in the reeds beside the old gate. "
NO_TOKENS = "\u00ad"


def sentences(characters: int) -> str:
    """Text of about so many characters."""
    return SENTENCE * (characters // len(SENTENCE) + 1)


def shared_string(characters: int) -> bytes:
    """A sheet whose cells are one string of 32,000 characters, which the file has once."""
    return samples.xlsx({"Sheet": [[sentences(31_900)]] * (characters // 32_000 + 1)})


def many_cells(characters: int) -> bytes:
    """A sheet of short rows under long names of columns, which each row repeats."""
    return samples.xlsx({"Sheet": [["n" * 100] * 5, *([[1] * 5] * (characters // 520 + 1))]})


def compressed_docx(characters: int) -> bytes:
    document, buffer = new_docx(), io.BytesIO()
    document.add_paragraph(sentences(characters))
    document.save(buffer)
    return buffer.getvalue()


def merged_docx(characters: int) -> bytes:
    """A table with one merged cell of long text beside many rows."""
    document, buffer = new_docx(), io.BytesIO()
    table = document.add_table(rows=20, cols=2)
    table.cell(0, 0).merge(table.cell(19, 0)).text = sentences(characters // 20)
    document.save(buffer)
    return buffer.getvalue()


def notes_pptx(characters: int) -> bytes:
    presentation, buffer = Presentation(), io.BytesIO()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    box = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(5), Inches(5))
    box.text_frame.text = sentences(characters)
    presentation.save(buffer)
    return buffer.getvalue()


def repeated_chapter(characters: int) -> bytes:
    spine = '<itemref idref="b"/>' * (characters // 10_000 + 1)
    pages = {"OPS/two.xhtml": f"<html><body><p>{sentences(10_000)}</p></body></html>"}
    return samples.epub(**pages, **{"OPS/book.opf": samples.BOOK.replace("<spine>", f"<spine>{spine}")})


def repeated_form(characters: int) -> bytes:
    def draw(canvas: Canvas) -> None:
        canvas.beginForm("all")
        for line in range(50):
            canvas.drawString(10, 20 + 15 * line, SENTENCE)
        canvas.endForm()
        for _ in range(characters // (50 * len(SENTENCE)) + 1):
            canvas.doForm("all")
            canvas.showPage()

    return samples.pdf(draw)


def table_html(characters: int) -> bytes:
    """A wide header that each row repeats."""
    head = "".join(f"<th>{'h' * 100}" for _ in range(5))
    return f"<table><tr>{head}{'<tr><td>1<td>2<td>3<td>4<td>5' * (characters // 520 + 1)}</table>".encode()


def nested_html(characters: int) -> bytes:
    """Lists in lists, each with a letter."""
    return ("<ul><li>a" * 400 + "</ul>" * 400 + "<p>b" * (characters // 40)).encode()


def wide_csv(characters: int) -> bytes:
    names = ",".join("c" * 100 for _ in range(5))
    return f"{names}\n".encode() + b"1,2,3,4,5\n" * (characters // 520 + 1)


def long_path(characters: int) -> bytes:
    return json.dumps({"k" * 500: {"l" * 500: [{"a": 1}] * (characters // 1_000 + 1)}}).encode()


def long_rows(characters: int) -> bytes:
    return (json.dumps({"k" * 200: [{"a": 1}] * 50}) + "\n").encode() * (characters // 10_000 + 1)


def headings(characters: int) -> bytes:
    """Headings without tokens over short paragraphs, which each chunk repeats."""
    path = "".join(f"{'#' * level} {NO_TOKENS * 100}{level}\n" for level in range(1, 6))
    return (path + "".join(f"###### {n}\n\nb\n\n" for n in range(characters // 600 + 1))).encode()


def base64_mail(characters: int) -> bytes:
    """A message that holds a compressed document twice."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "x", "ann@example.com", "bob@example.com"
    message.set_content("See.")
    inner = EmailMessage()
    inner["Subject"], inner["From"] = "y", "eve@example.com"
    inner.set_content(sentences(characters // 2), cte="base64")
    message.add_attachment(inner)
    kind = {"maintype": "application", "subtype": "octet-stream", "filename": "a.docx"}
    message.add_attachment(compressed_docx(characters // 2), **kind)
    return message.as_bytes()


def encoded_text(characters: int) -> bytes:
    return base64.b64encode(bytes(characters * 3 // 4))


def nested_code(characters: int) -> bytes:
    """Functions in functions, whose names chunks may repeat."""
    names = "".join(f"{' ' * n}def {'f' * 60}{n}():\n" for n in range(50))
    return (names + f"{' ' * 50}x = 1\n" * (characters // 60 + 1)).encode()


DOCUMENTS: dict[str, dict[str, tuple[str, Make]]] = {
    "markdown": {"long headings": ("a.md", headings)},
    "text": {
        "base64": ("a.txt", encoded_text),
        "no tokens": ("a.txt", lambda n: (NO_TOKENS * n).encode()),
        "short lines": ("a.txt", lambda n: b"a\n\n" * (n // 3)),
    },
    "html": {"a wide header": ("a.html", table_html), "nested lists": ("a.html", nested_html)},
    "pdf": {"a repeated form": ("a.pdf", repeated_form)},
    "docx": {"a long paragraph": ("a.docx", compressed_docx), "a merged cell": ("a.docx", merged_docx)},
    "pptx": {"a long text": ("a.pptx", notes_pptx)},
    "xlsx": {"a shared string": ("a.xlsx", shared_string), "long names of columns": ("a.xlsx", many_cells)},
    "epub": {"a repeated chapter": ("a.epub", repeated_chapter)},
    "eml": {"parts in base64": ("a.eml", base64_mail)},
    "msg": {
        "a long body": (
            "a.msg",
            lambda n: outlook_message("x", sentences(n), "ann@example.com", "bob@example.com"),
        )
    },
    "csv": {"long names of columns": ("a.csv", wide_csv)},
    "json": {"a long path": ("a.json", long_path)},
    "jsonl": {"a long path": ("a.jsonl", long_rows)},
    "image": {"a page of text": ("a.png", lambda n: samples.image(*[SENTENCE] * (n // 10_000 + 1)))},
    "code": {"nested functions": ("a.py", nested_code)},
}
"""By format, `code` standing for every language, and by what is hostile: a name, and what makes the content."""
