"""PDFs with tables that are known, in the layouts of common programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import cm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BalancedColumns,
    Flowable,
    Indenter,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

Rows = Sequence[Sequence[str]]

PROSE = (
    "The canal was dug by hand in the years before the railway came, and its gates were built of oak from the hills "
    "above the town. Each gate was rebuilt when its timbers had rotted, at first every thirty years and later more "
    "often, since the newer wood was younger. The keepers wrote down what each repair had cost, which is why so much "
    "is known about the prices of timber, iron and labour along the upper valley in those days. "
)


@dataclass(frozen=True, slots=True)
class Known:
    """A table's column names and rows as they must be found; an empty cell is not looked for."""

    header: Sequence[str]
    rows: Rows


def not_found(known: Known, chunks: Sequence[str]) -> list[str]:
    """Returns the cells that no chunk has in their row, with their name."""
    rows = [set(row.split(" | ")) for text in chunks for row in text.split("\n\n")]
    missing = []
    for row in known.rows:
        cells = [f"{name}: {cell}" for name, cell in zip(known.header, row, strict=True) if cell]
        missing += [cell for cell in cells if not any({cell, cells[0]} <= found for found in rows)]
    return missing


GATES = Known(
    ["Gate", "Height", "Built", "Keeper"],
    [
        ["North gate", "3.2 m", "1801", "Ann Miller"],
        ["South gate", "4.1 m", "1822", "Bob Carter"],
        ["Upper basin", "12.5 m", "1790", "Eve Stone"],
        ["Mill weir", "0.9 m", "1911", "Tom Reed"],
        ["Harbour", "7.75 m", "1868", "Una Fisher"],
    ],
)
PRICES = Known(
    ["Item", "Pieces", "Unit price", "Total"],
    [
        ["Oak beam", "12", "1,250.00", "15,000.00"],
        ["Iron hinge", "48", "35.50", "1,704.00"],
        ["Rope, 20 m", "7", "9.90", "69.30"],
        ["Lamp oil", "150", "0.85", "127.50"],
        ["Paint", "3", "112.00", "336.00"],
    ],
)
DUTIES = Known(
    ["Post", "Duty", "When"],
    [
        ["Lock keeper", "Opens and closes the gates for boats that announce themselves by horn", "from dawn to dusk"],
        ["Clerk", "Writes down tolls", "on working days"],
        [
            "Diver",
            "Inspects the sills below the water and clears them of stones, branches and whatever else was swept there",
            "each spring, and after every flood above the second mark",
        ],
        ["Smith", "Repairs hinges", "on demand"],
    ],
)
LONG = Known(
    ["Number", "Boat", "Cargo", "Tons"],
    [[f"B-{n}", f"Heron {n}", ("coal", "salt", "timber", "grain")[n % 4], str(20 + 7 * n)] for n in range(1, 91)],
)
KEEPERS = Known(
    ["Keeper", "Wage", "Since"], [["Ann", "31.00", "1990"], ["Bob", "28.50", "2004"], ["Eve", "9.75", "2011"]]
)

STYLES = getSampleStyleSheet()
BODY = STYLES["BodyText"]
SMALL = ParagraphStyle("small", parent=BODY, fontSize=8, leading=9.6)
HEAD: list[tuple[object, ...]] = [("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold")]
GRID: list[tuple[object, ...]] = [*HEAD, ("GRID", (0, 0), (-1, -1), 0.5, colors.black)]


def table(known: Known, style: Sequence[tuple[object, ...]] = HEAD, **more: object) -> Table:
    return Table([list(known.header), *map(list, known.rows)], style=TableStyle(style), **more)


def wrapped(known: Known, widths: Sequence[float], style: Sequence[tuple[object, ...]], **more: object) -> Table:
    """A table whose cells are paragraphs, which go on in several lines."""
    bold = ParagraphStyle("bold", parent=SMALL, fontName="Helvetica-Bold")
    rows = [[Paragraph(text, bold) for text in known.header]]
    rows += [[Paragraph(text, SMALL) for text in row] for row in known.rows]
    return Table(rows, colWidths=widths, style=TableStyle(style), **more)


def story(*flowables: Flowable, pagesize: tuple[float, float] = A4, footer: str = "", margin: float = 2 * cm) -> bytes:
    buffer = io.BytesIO()

    def foot(canvas: Canvas, document: object) -> None:
        if footer:
            canvas.setFont("Helvetica", 8)
            canvas.drawString(margin, margin - 12, footer)
            canvas.drawRightString(pagesize[0] - margin, margin - 12, f"Page {canvas.getPageNumber()}")

    document = SimpleDocTemplate(
        buffer, pagesize=pagesize, leftMargin=margin, rightMargin=margin, topMargin=margin, bottomMargin=margin
    )
    document.build(list(flowables), onFirstPage=foot, onLaterPages=foot)
    return buffer.getvalue()


def drawn(draw: Callable[[Canvas], None], pagesize: tuple[float, float] = A4) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=pagesize)
    draw(canvas)
    canvas.save()
    return buffer.getvalue()


def heading(text: str) -> Paragraph:
    return Paragraph(text, STYLES["Heading2"])


def prose(times: int = 1) -> Paragraph:
    return Paragraph(PROSE * times, BODY)


Place = Callable[[Canvas, float, float, str, str, float], None]
"""Draws a text at a place, in a font of a size."""


def as_words(canvas: Canvas, x: float, y: float, text: str, font: str, size: float) -> None:
    """One text object for each word, without spaces, as Word writes justified text."""
    canvas.setFont(font, size)
    for word in text.split(" "):
        canvas.drawString(x, y, word)
        x += stringWidth(f"{word} ", font, size)


def as_runs(canvas: Canvas, x: float, y: float, text: str, font: str, size: float) -> None:
    """One text object of runs with kerning between them and no spaces, as TeX writes text."""
    canvas.setFont(font, size)
    parts = []
    for word in text.split(" "):
        kerned = "".join(f"({word[at : at + 3]})-{30 * (at % 2)}" for at in range(0, len(word), 3))
        parts.append(kerned.rpartition("-")[0])
    name = canvas._doc.getInternalFontName(font)
    canvas._code.append(f"BT {name} {size} Tf {x:.2f} {y:.2f} Td [{'-250'.join(parts)}] TJ ET")


def as_glyphs(canvas: Canvas, x: float, y: float, text: str, font: str, size: float) -> None:
    """Glyphs at their own places, kerned and without spaces, as printer drivers write text."""
    canvas.setFont(font, size)
    for number, character in enumerate(text):
        if character != " ":
            canvas.drawString(x - 0.04 * size * (number % 3 == 2), y, character)
        x += stringWidth(character, font, size)


def as_cell(canvas: Canvas, x: float, y: float, text: str, font: str, size: float) -> None:
    """One text object for each line of a cell, as LibreOffice writes it."""
    canvas.setFont(font, size)
    canvas.drawString(x, y, text)


def placed(
    canvas: Canvas,
    known: Known,
    xs: Sequence[float],
    top: float,
    place: Place,
    *,
    step: float = 14,
    size: float = 10,
    fonts: tuple[str, str] = ("Times-Bold", "Times-Roman"),
    right: Sequence[int] = (),
    by_columns: bool = False,
) -> float:
    """Draws a table's texts; returns the height of its last line. `xs` are left edges, or right ones of `right`."""
    rows = [known.header, *known.rows]
    order = [(r, c) for r in range(len(rows)) for c in range(len(known.header))]
    for r, c in sorted(order, key=lambda at: (at[1], at[0])) if by_columns else order:
        font, text = fonts[r > 0], rows[r][c]
        x = xs[c] - stringWidth(text, font, size) if c in right else xs[c]
        place(canvas, x, top - step * r, text, font, size)
    return top - step * (len(rows) - 1)


def thin(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    """A line as Word and TeX draw it: a filled rectangle."""
    canvas.rect(x, y, width, height, stroke=0, fill=1)


def word(canvas: Canvas) -> None:
    """Borders of each cell are thin rectangles, texts are words, the heading stands left above."""
    as_words(canvas, 72, 770, "Gates of the canal", "Helvetica-Bold", 14)
    xs = [160, 250, 320, 380, 470]
    placed(canvas, GATES, [x + 5.4 for x in xs[:4]], 730, as_words, step=14.2, size=11)
    for row in range(len(GATES.rows) + 2):
        for left, right in pairwise(xs):
            thin(canvas, left, 740.5 - 14.2 * row, right - left, 0.48)
    for x in xs:
        for row in range(len(GATES.rows) + 1):
            thin(canvas, x, 740.5 - 14.2 * (row + 1), 0.48, 14.2)


def word_plain(canvas: Canvas) -> None:
    """A table without borders below a paragraph, with words as text objects."""
    as_words(
        canvas, 72, 770, "What was bought for the repair of the gates in the spring is listed here.", "Times-Roman", 11
    )
    placed(canvas, PRICES, [72, 260, 360, 470], 740, as_words, step=13.8, size=11, right=[1, 2, 3])
    as_words(canvas, 72, 640, "Prices are those of the year before the flood and include carriage.", "Times-Roman", 11)


def booktabs(canvas: Canvas) -> None:
    """Three lines, numbers at the right, a caption above in the middle."""
    as_runs(canvas, 210, 722, "Table 1: Materials of the repair", "Times-Roman", 10)
    last = placed(canvas, PRICES, [170, 290, 360, 430], 700, as_runs, step=12, right=[1, 2, 3])
    for y, width in ((710, 0.8), (696.5, 0.5), (last - 4, 0.8)):
        thin(canvas, 164, y, 272, width)
    as_runs(
        canvas,
        72,
        last - 30,
        "As the table shows, oak was dear and lamp oil was not, which surprised nobody",
        "Times-Roman",
        10,
    )
    as_runs(canvas, 72, last - 42, "who had read the accounts of the year before.", "Times-Roman", 10)


def tabular(canvas: Canvas) -> None:
    """A line between columns and above and below rows, each drawn row by row."""
    placed(canvas, GATES, [156, 256, 326, 386], 700, as_runs, step=12)
    for x in (150, 250, 320, 380, 470):
        for row in range(len(GATES.rows) + 1):
            thin(canvas, x, 697 - 12 * row, 0.4, 12)
    for y in (709, 697, 697 - 12 * len(GATES.rows)):
        thin(canvas, 150, y, 320, 0.4)


def libreoffice(canvas: Canvas) -> None:
    """Cells in the order of columns, lines over the whole table."""
    xs = [56, 180, 300, 420, 540]
    placed(
        canvas,
        PRICES,
        [x + 3 for x in xs[:4]],
        760,
        as_cell,
        step=17,
        fonts=("Helvetica-Bold", "Helvetica"),
        by_columns=True,
    )
    canvas.grid(xs, [772 - 17 * row for row in range(len(PRICES.rows) + 2)])


def groups(canvas: Canvas) -> None:
    """Rows of TeX without padding, in groups with a space between them, and no lines at all."""
    top = 700.0
    rows = list(GATES.rows) * 1
    placed(canvas, Known(GATES.header, rows[:3]), [120, 220, 290, 350], top, as_runs, step=12)
    for number, row in enumerate(rows[3:]):
        for x, text in zip([120, 220, 290, 350], row, strict=True):
            as_runs(canvas, x, top - 12 * 3 - 18 - 12 * number, text, "Times-Roman", 10)


def glyphs(canvas: Canvas) -> None:
    placed(canvas, GATES, [120, 220, 290, 350], 700, as_glyphs, step=16)


def margin_heading(canvas: Canvas) -> None:
    """A heading in the margin, on the line of the header of a table without lines."""
    as_cell(canvas, 40, 700, "Materials", "Helvetica-Bold", 13)
    placed(
        canvas,
        PRICES,
        [180, 330, 420, 520],
        700,
        as_cell,
        step=15,
        right=[1, 2, 3],
        fonts=("Helvetica-Bold", "Helvetica"),
    )


def heading_of_two_lines(canvas: Canvas) -> None:
    """The same, in two lines, and the first line above the table."""
    as_cell(canvas, 40, 712, "Materials", "Helvetica-Bold", 12)
    as_cell(canvas, 40, 698, "of the repair", "Helvetica-Bold", 12)
    placed(canvas, PRICES, [180, 330, 420, 520], 700, as_cell, step=15, right=[1, 2, 3])


def heading_beside_rows(canvas: Canvas) -> None:
    """The same, in two lines, which are those of the header and of the first row."""
    as_cell(canvas, 40, 700, "Materials", "Helvetica-Bold", 12)
    as_cell(canvas, 40, 685, "of the repair", "Helvetica-Bold", 12)
    placed(canvas, PRICES, [180, 330, 420, 520], 700, as_cell, step=15, right=[1, 2, 3])


def turned(canvas: Canvas) -> None:
    """A page that is shown sideways, and whose text therefore runs upwards."""
    canvas.setPageRotation(90)
    canvas.translate(A4[0], 0)
    canvas.rotate(90)
    as_cell(canvas, 60, 500, "Gates of the canal", "Helvetica-Bold", 14)
    placed(canvas, GATES, [200, 330, 450, 560], 460, as_cell, step=16)


def watermark(canvas: Canvas) -> None:
    """A word across the table in another direction."""
    placed(canvas, GATES, [156, 256, 326, 386], 700, as_cell, step=15)
    canvas.saveState()
    canvas.translate(180, 560)
    canvas.rotate(40)
    as_cell(canvas, 0, 0, "DRAFT", "Helvetica-Bold", 80)
    canvas.restoreState()


def close_columns(canvas: Canvas) -> None:
    """Columns three points apart where a text is longest, as pages without a style sheet have them."""
    size, fonts = 12.0, ("Times-Bold", "Times-Roman")
    xs, x = [], 60.0
    for column in range(4):
        xs.append(x)
        texts = [PRICES.header[column], *(row[column] for row in PRICES.rows)]
        x += 3 + max(stringWidth(text, fonts[number > 0], size) for number, text in enumerate(texts))
    placed(canvas, PRICES, xs, 700, as_cell, step=18, size=size, fonts=fonts)


MERGED = Known(
    ["Gate", "2023 Boats", "2023 Tons", "2024 Boats", "2024 Tons"],
    [
        ["North", "120", "4,100", "131", "4,650"],
        ["South", "88", "2,020", "79", "1,985"],
        ["Mill", "5", "61", "7", "90"],
    ],
)


def merged(style: Sequence[tuple[object, ...]], **more: object) -> Table:
    """Names that span two columns, and one that spans two rows."""
    rows = [["Gate", "2023", "", "2024", ""], ["", "Boats", "Tons", "Boats", "Tons"], *map(list, MERGED.rows)]
    spans = [
        ("SPAN", (0, 0), (0, 1)),
        ("SPAN", (1, 0), (2, 0)),
        ("SPAN", (3, 0), (4, 0)),
        ("ALIGN", (1, 0), (-1, 0), "CENTER"),
    ]
    bold = [("FONTNAME", (0, 0), (-1, 1), "Helvetica-Bold")]
    return Table(rows, style=TableStyle([*spans, *bold, *style]), **more)


REGIONS = Known(
    ["Region", "Gate", "Height"],
    [
        ["Upper valley", "North", "3.2 m"],
        ["Upper valley", "South", "4.1 m"],
        ["Coast", "Harbour", "7.7 m"],
        ["Coast", "Mole", "2.4 m"],
    ],
)
EMPTY = Known(
    ["Gate", "Height", "Note", "Rebuilt"],
    [
        ["North", "3.2 m", "", "1901"],
        ["South", "", "wide", ""],
        ["Mill", "0.9 m", "", ""],
        ["Mole", "", "", "1990"],
        ["Weir", "1.1 m", "low", "2001"],
    ],
)
YEARS = Known(
    ["Cargo", "2021", "2022", "2023"],
    [["Coal", "410", "390", "12"], ["Salt", "77", "80", "81"], ["Grain", "5", "6", "1,204"]],
)
SENTENCES = Known(
    ["Rule", "Text", "Fine"],
    [
        [
            f"Rule {n}",
            f"Boats of class {n} wait below the gate. The keeper of post {n} calls them up. Nobody passes before.",
            f"{n * 5}.00",
        ]
        for n in range(1, 9)
    ],
)
WIDE = Known([f"Measure {n}" for n in range(1, 13)], [[f"{n * m}.{m}" for n in range(11, 23)] for m in range(1, 7)])


def regions() -> Table:
    rows = [list(REGIONS.header), *map(list, REGIONS.rows)]
    rows[2][0] = rows[4][0] = ""
    return Table(
        rows,
        style=TableStyle(
            [*GRID, ("SPAN", (0, 1), (0, 2)), ("SPAN", (0, 3), (0, 4)), ("VALIGN", (0, 0), (-1, -1), "MIDDLE")]
        ),
    )


def two_columns() -> bytes:
    narrow = ParagraphStyle("narrow", parent=BODY, fontSize=9, leading=11)
    text = [Paragraph(PROSE * 2, narrow) for _ in range(5)]
    boxed = table(
        KEEPERS,
        [*HEAD, ("LINEABOVE", (0, 0), (-1, 0), 1, colors.black), ("LINEBELOW", (0, 0), (-1, 0), 0.5, colors.black)],
    )
    return story(heading("Two columns"), BalancedColumns([*text[:2], boxed, *text[2:]], nCols=2, innerPadding=24))


NUMBERS_RIGHT: list[tuple[object, ...]] = [("ALIGN", (1, 0), (-1, -1), "RIGHT")]
STRIPES: list[tuple[object, ...]] = [
    *HEAD,
    ("BACKGROUND", (0, 0), (-1, 0), colors.lightgrey),
    ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, colors.whitesmoke]),
]
ROW_LINES: list[tuple[object, ...]] = [*HEAD, ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.grey)]
MIDDLE: list[tuple[object, ...]] = [("VALIGN", (0, 0), (-1, -1), "MIDDLE")]
TOP: list[tuple[object, ...]] = [("VALIGN", (0, 0), (-1, -1), "TOP")]
WIDTHS = [3 * cm, 7 * cm, 4 * cm]

DOCUMENTS: dict[str, tuple[Callable[[], bytes], list[Known]]] = {
    "centred, heading left above": (lambda: story(heading("Gates"), table(GATES)), [GATES]),
    "centred, grid, heading left above": (lambda: story(heading("Gates"), table(GATES, GRID)), [GATES]),
    "at the left, between paragraphs": (lambda: story(prose(), table(GATES, hAlign="LEFT"), prose()), [GATES]),
    "indented": (
        lambda: story(prose(), Indenter(left=3 * cm), table(GATES, hAlign="LEFT"), Indenter(left=-3 * cm), prose()),
        [GATES],
    ),
    "numbers at the right": (lambda: story(heading("Costs"), table(PRICES, [*HEAD, *NUMBERS_RIGHT])), [PRICES]),
    "numbers at the right, grid": (lambda: story(heading("Costs"), table(PRICES, [*GRID, *NUMBERS_RIGHT])), [PRICES]),
    "stripes": (lambda: story(prose(), table(PRICES, STRIPES), prose()), [PRICES]),
    "lines below rows": (lambda: story(prose(), table(GATES, ROW_LINES), prose()), [GATES]),
    "lines of several heights": (lambda: story(heading("Duties"), wrapped(DUTIES, WIDTHS, GRID)), [DUTIES]),
    "lines of several heights, top, no lines": (
        lambda: story(heading("Duties"), wrapped(DUTIES, WIDTHS, TOP)),
        [DUTIES],
    ),
    "lines of several heights, middle, no lines": (
        lambda: story(heading("Duties"), wrapped(DUTIES, WIDTHS, MIDDLE)),
        [DUTIES],
    ),
    "lines of several heights, middle, lines below rows": (
        lambda: story(prose(), wrapped(DUTIES, WIDTHS, [*ROW_LINES, *MIDDLE]), prose()),
        [DUTIES],
    ),
    "merged cells, grid": (lambda: story(heading("Boats"), merged(GRID)), [MERGED]),
    "merged cells, no lines": (lambda: story(heading("Boats"), merged([])), [MERGED]),
    "merged rows": (lambda: story(heading("Regions"), regions()), [REGIONS]),
    "empty cells": (lambda: story(heading("Notes"), table(EMPTY)), [EMPTY]),
    "empty cells, grid": (lambda: story(heading("Notes"), table(EMPTY, GRID)), [EMPTY]),
    "years as names": (lambda: story(heading("Cargo"), table(YEARS, [*HEAD, *NUMBERS_RIGHT])), [YEARS]),
    "several tables": (
        lambda: story(heading("Gates"), table(GATES), heading("Costs"), table(PRICES), Spacer(1, 20), table(KEEPERS)),
        [GATES, PRICES, KEEPERS],
    ),
    "several tables, grid, without a gap": (
        lambda: story(table(GATES, GRID), table(PRICES, GRID), table(KEEPERS, GRID)),
        [GATES, PRICES, KEEPERS],
    ),
    "over pages, repeated header": (lambda: story(heading("Boats"), table(LONG, GRID, repeatRows=1)), [LONG]),
    "over pages, repeated header, no lines, footer": (
        lambda: story(heading("Boats"), table(LONG, HEAD, repeatRows=1), footer="Canal report"),
        [LONG],
    ),
    "over pages, header once": (lambda: story(heading("Boats"), table(LONG, HEAD)), [LONG]),
    "two columns of text": (two_columns, [KEEPERS]),
    "landscape": (lambda: story(heading("Measures"), table(WIDE, GRID), pagesize=landscape(A4)), [WIDE]),
    "landscape, no lines": (lambda: story(heading("Measures"), table(WIDE, HEAD), pagesize=landscape(A4)), [WIDE]),
    "small": (
        lambda: story(
            prose(),
            table(PRICES, [*HEAD, ("FONTSIZE", (0, 0), (-1, -1), 5), ("LEADING", (0, 0), (-1, -1), 6)]),
            prose(),
        ),
        [PRICES],
    ),
    "footer below": (
        lambda: story(Spacer(1, 640), table(GATES), footer="Canal report, confidential", margin=1.5 * cm),
        [GATES],
    ),
    "sentences in cells": (
        lambda: story(wrapped(SENTENCES, [2 * cm, 9 * cm, 2 * cm], GRID), PageBreak(), prose()),
        [SENTENCES],
    ),
    "Word": (lambda: drawn(word), [GATES]),
    "Word, plain": (lambda: drawn(word_plain), [PRICES]),
    "LaTeX, booktabs": (lambda: drawn(booktabs), [PRICES]),
    "LaTeX, tabular": (lambda: drawn(tabular), [GATES]),
    "LaTeX, groups of rows": (lambda: drawn(groups), [GATES]),
    "glyph by glyph": (lambda: drawn(glyphs), [GATES]),
    "LibreOffice": (lambda: drawn(libreoffice), [PRICES]),
    "heading in the margin": (lambda: drawn(margin_heading), [PRICES]),
    "heading in the margin, two lines": (lambda: drawn(heading_of_two_lines), [PRICES]),
    "heading in the margin, beside rows": (lambda: drawn(heading_beside_rows), [PRICES]),
    "turned page": (lambda: drawn(turned), [GATES]),
    "watermark": (lambda: drawn(watermark), [GATES]),
    "close columns": (lambda: drawn(close_columns), [PRICES]),
}
"""PDFs by their layout, each with the tables that must be found."""
