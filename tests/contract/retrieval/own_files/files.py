"""Ten small files such as people attach to a question, in as many formats, written by other programs than read them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from email.message import EmailMessage

import xlsxwriter
from docx import Document as new_docx
from pptx import Presentation
from reportlab.lib.pagesizes import A5
from reportlab.pdfgen.canvas import Canvas

KENNEL = """\
# House rules of the Willowbrook kennel

## Feeding

Dogs are fed at seven in the morning and at half past five in the afternoon.
Puppies under six months get a third meal at noon. Nobody feeds a dog in the hour before a walk.

## Walks

Each dog is walked twice a day for forty minutes. Greyhounds wear a muzzle outside the fence.

## Visitors

Owners may visit between two and four in the afternoon. The gate code is changed on the first Monday of every month.
"""

SHELVES = """\
Article,Colour,Stock,Price,Supplier
Kettle,green,14,23.90,Morland & Co
Kettle,red,3,24.50,Morland & Co
Toaster,white,27,31.00,Brightside
Bread bin,cream,8,18.75,Oakhurst
Egg timer,yellow,112,4.20,Brightside
Pepper mill,walnut,19,36.40,Oakhurst
"""

MINUTES = """\
Minutes of the allotment society, 12 March

Present: Agnes Whitlock (chair), Dev Patel, Rosa Lindgren, Tom Achterberg.

The water tank behind plot 31 leaks. Dev will replace the lower valve before Easter; the society pays up to 85 pounds.

The annual fee rises from 42 to 47 pounds. It was agreed with three votes to one.

The next meeting is on 9 April at half past seven in the scout hut.
"""

SOUP = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Grandmother's barley soup</title></head>
<body><nav><a href="/">All recipes</a></nav><main><h1>Grandmother's barley soup</h1>
<p>Serves six. It keeps for four days in the refrigerator.</p>
<h2>Ingredients</h2><ul><li>250 g of pearl barley</li><li>two leeks</li><li>three carrots</li>
<li>1.8 litres of vegetable stock</li><li>a bay leaf</li></ul>
<h2>Method</h2><p>Soak the barley overnight. Simmer everything for fifty minutes with the lid half open.</p>
<p>Take the bay leaf out before serving, and season with nutmeg.</p></main></body></html>
"""

LEASE = [
    [
        "Lease of the flat at 8 Harbour Street",
        "The landlord is Mrs. Philippa Crane.",
        "The tenant is Mr. Jonas Weller.",
        "The lease begins on 1 September.",
    ],
    [
        "Rent and deposit",
        "The monthly rent is 940 euros and is due on the third working day.",
        "The tenant pays a deposit of 1,880 euros before moving in.",
    ],
    [
        "Notice",
        "Either party may end the lease with a notice of three months.",
        "Pets need the written consent of the landlord.",
    ],
]

OFFER = [
    ("Offer for repairing the roof of the Tannery", 0, ""),
    (
        "Scope",
        1,
        "We replace 64 square metres of slate on the north side and renew the lead around both chimneys. "
        "The scaffolding stays up for three weeks.",
    ),
    (
        "Price",
        1,
        "The work costs 18,650 euros including tax. A third is paid when the order is placed, the rest on completion.",
    ),
    ("Warranty", 1, "We give a warranty of eight years on the slate and of five years on the lead."),
]

BUDGET = [
    ["Item", "Planned", "Spent", "Responsible"],
    ["Marquee", 3200, 3350, "Ingrid"],
    ["Catering", 5400, 5120, "Bashir"],
    ["Music", 1250, 1250, "Ingrid"],
    ["Flowers", 480, 615, "Yvonne"],
    ["Insurance", 290, 290, "Bashir"],
]

LAUNCH = [
    ("Launch of the Heron ferry", ["Maiden voyage on 14 June", "Captain: Solveig Brandt"]),
    ("The ship", ["The Heron carries 220 passengers and 36 cars.", "Two electric motors of 900 kilowatts each."]),
    ("Tickets", ["Residents pay half of the fare.", "Dogs travel free of charge on the lower deck."]),
]

DELIVERY = """\
Hello Marta,

your bookcase left our workshop this morning. The carrier is Northgate Freight and the tracking number is NG-77410-B.

Delivery is planned for Thursday between ten and one. Please keep the doorway clear: the parcel is 2.10 metres long.

If a shelf is damaged, write to us within fourteen days and we send another one.

Kind regards
Oskar Feldmann
"""

CHAPTERS = (
    ("Unpacking", "Lift the loom out of its crate with two people. Keep the crate: returns are accepted only in it."),
    (
        "Assembly",
        "Bolt the breast beam first and the castle last. The eight long bolts are tightened to 14 newton metres.",
    ),
    ("Levelling", "Put the loom on a firm floor. A loom that rocks wears its treadle joints within a year."),
    ("Warping", "Wind the warp with a tension of about two kilograms for each ten centimetres of width."),
    ("Heddles", "The loom comes with 400 heddles of wire. Texsolv heddles fit as well and make less noise."),
    ("Treadles", "There are six treadles. Tie-ups are described on the card in the drawer below the bench."),
    ("Reed", "The reed supplied has ten dents for each inch. Clean it with a dry brush and never with water."),
    ("Shuttles", "Boat shuttles up to 32 centimetres run freely. Wax the race of the beater once a month."),
    ("Lighting", "The lamp above the breast beam needs a bulb of seven watts with a small bayonet base."),
    ("Noise", "Felt pads below the feet halve the noise in the room underneath."),
    ("Humidity", "Linen breaks below forty per cent of humidity. Hang a damp cloth over the castle on dry days."),
    ("Oiling", "Oil the axle of the cloth beam every three months with two drops of sewing machine oil."),
    ("Brake", "If the warp beam slips, turn the brass nut of the brake a quarter to the right."),
    (
        "Spare parts",
        "Order spare parts by telephone on 0400 118 226, with the number that is burnt into the left side.",
    ),
    ("Moving", "Take the beater off before the loom is moved through a door of less than 90 centimetres."),
)


def manual() -> bytes:
    """A long Markdown file, whose chapters explain the same at length."""
    filler = (
        "Read this chapter to its end before you begin. Work slowly, and ask somebody for help where a part is heavy. "
        "Whoever weaves every day notices early when something sounds different, and a small repair is soon done. "
        "Note in the booklet on what day it was done and by whom, so that the next person knows what to expect. "
        "Photographs help: take one before you loosen anything, and one when you have finished. "
    )
    parts = ["# Manual of the Aldertree floor loom"]
    for number, (title, text) in enumerate(CHAPTERS, 1):
        parts += [f"## {number}. {title}", text, *[filler] * 3]
    return "\n\n".join(parts).encode()


def lease() -> bytes:
    made = io.BytesIO()
    canvas = Canvas(made, pagesize=A5)
    for lines in LEASE:
        for number, line in enumerate(lines):
            canvas.setFont("Helvetica-Bold" if not number else "Helvetica", 14 if not number else 10)
            canvas.drawString(40, 540 - 24 * number, line)
        canvas.showPage()
    canvas.save()
    return made.getvalue()


def offer() -> bytes:
    document = new_docx()
    for heading, level, text in OFFER:
        document.add_heading(heading, level)
        if text:
            document.add_paragraph(text)
    made = io.BytesIO()
    document.save(made)
    return made.getvalue()


def budget() -> bytes:
    made = io.BytesIO()
    workbook = xlsxwriter.Workbook(made, {"in_memory": True})
    sheet = workbook.add_worksheet("Summer party")
    for number, row in enumerate(BUDGET):
        sheet.write_row(number, 0, row)
    workbook.close()
    return made.getvalue()


def launch() -> bytes:
    presentation = Presentation()
    for title, points in LAUNCH:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(points)
    made = io.BytesIO()
    presentation.save(made)
    return made.getvalue()


def delivery() -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "Oskar Feldmann <oskar@feldmann.example>", "marta@reed.example"
    message["Subject"], message["Date"] = "Your bookcase is on its way", "Tue, 04 Feb 2031 08:12:00 +0000"
    message.set_content(DELIVERY)
    return message.as_bytes()


FILES: Mapping[str, bytes] = {
    "kennel.md": KENNEL.encode(),
    "shelves.csv": SHELVES.encode(),
    "minutes.txt": MINUTES.encode(),
    "soup.html": SOUP.encode(),
    "lease.pdf": lease(),
    "offer.docx": offer(),
    "budget.xlsx": budget(),
    "launch.pptx": launch(),
    "delivery.eml": delivery(),
    "loom.md": manual(),
}
