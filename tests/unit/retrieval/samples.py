"""A small document of each format, made by another program than the one that reads it where there is one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage

import xlsxwriter
from docx import Document as new_docx
from PIL import Image, ImageDraw, ImageFont
from pptx import Presentation
from pptx.util import Inches
from reportlab.pdfgen.canvas import Canvas

from tests.unit.retrieval.compound_file import outlook_message

Table = Sequence[Sequence[object]]
GATES: Table = [["Gate", "Height", "Built"], ["North", "3.2 m", 1801], ["South", "4.1 m", 1822]]
GATE_ROWS = ["Gate: North | Height: 3.2 m | Built: 1801", "Gate: South | Height: 4.1 m | Built: 1822"]


def zipped(entries: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def xlsx(sheets: Mapping[str, Table] = {"Gates": GATES}, hidden: Sequence[str] = ()) -> bytes:
    buffer = io.BytesIO()
    workbook = xlsxwriter.Workbook(buffer, {"in_memory": True})
    for name, rows in sheets.items():
        sheet = workbook.add_worksheet(name)
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
        if name in hidden:
            sheet.hide()
    workbook.close()
    return buffer.getvalue()


def pptx() -> bytes:
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = "Gates"
    slide.placeholders[1].text = "Two gates.\nBoth open."
    table = slide.shapes.add_table(3, 3, 0, 0, Inches(3), Inches(2)).table
    for number, row in enumerate(GATES):
        for column, value in enumerate(row):
            table.cell(number, column).text = str(value)
    slide.notes_slide.notes_text_frame.text = "Say when."
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def docx() -> bytes:
    document = new_docx()
    table = document.add_table(rows=3, cols=3)
    for number, row in enumerate(GATES):
        for column, value in enumerate(row):
            table.cell(number, column).text = str(value)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def eml() -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Grüße", "ann@example.com", "bob@example.com"
    message.set_content("The gate is open.\n\nClose it.")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    forwarded = EmailMessage()
    forwarded["Subject"], forwarded["From"] = "Gate", "eve@example.com"
    forwarded.set_content("<p>It <b>jams</b>.</p><script>x()</script>", subtype="html")
    message.add_attachment(forwarded)
    return message.as_bytes()


def msg() -> bytes:
    return outlook_message("Keys", "The keys are here.\r\n" * 300, "ann@example.com", "bob@example.com")


CONTAINER = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
BOOK = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf"><metadata>
<title xmlns="http://purl.org/dc/elements/1.1/">On Canals</title></metadata><manifest>
<item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="text/one%20a.xhtml" media-type="application/xhtml+xml"/>
<item id="s" href="style.css" media-type="text/css"/></manifest>
<spine><itemref idref="a"/><itemref idref="s"/><itemref idref="b"/></spine></package>"""


def epub(**more: str) -> bytes:
    pages = {
        "OPS/text/one a.xhtml": "<html><head><title/></head><body><script/><h1>First</h1><p>Dug.</p></body></html>",
        "OPS/two.xhtml": "<html><body><h1>Second</h1><p>Filled.</p></body></html>",
    }
    return zipped(
        {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OPS/book.opf": BOOK, **pages, **more}
    )


def image(*lines: str, format: str = "PNG") -> bytes:
    picture = Image.new("L", (400, 50 * len(lines) + 200), 255)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((20, 20 + 50 * number), line, fill=0, font=ImageFont.load_default(32))
    buffer = io.BytesIO()
    picture.save(buffer, format)
    return buffer.getvalue()


def pdf(draw: Callable[[Canvas], None]) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    draw(canvas)
    canvas.save()
    return buffer.getvalue()
