"""A company's documents in five formats, and questions of its staff that were written before any answer was seen."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from docx import Document
from reportlab.platypus import Paragraph

from tests.unit.retrieval.samples import xlsx
from tests.unit.retrieval.tables.documents import BODY, GRID, Known, heading, story, table

FARES = Known(
    ["Route", "Adult", "Child", "Car"],
    [
        ["Skarn to Lillo", "42 kr", "21 kr", "180 kr"],
        ["Skarn to Hestra", "67 kr", "33 kr", "265 kr"],
        ["Lillo to Hestra", "38 kr", "19 kr", "150 kr"],
        ["Skarn to Odde", "95 kr", "47 kr", "340 kr"],
    ],
)
DEPARTURES = Known(
    ["Route", "First ferry", "Last ferry", "Days"],
    [
        ["Skarn to Lillo", "05:40", "23:10", "daily"],
        ["Skarn to Hestra", "06:15", "20:45", "Monday to Saturday"],
        ["Lillo to Hestra", "07:30", "18:00", "Monday to Friday"],
        ["Skarn to Odde", "09:00", "16:30", "weekends"],
    ],
)
CREW = Known(
    ["Rank", "Watch", "Pay per month", "Leave per year"],
    [
        ["Deckhand", "8 hours", "31,400 kr", "28 days"],
        ["Engineer", "6 hours", "46,900 kr", "32 days"],
        ["Mate", "6 hours", "44,200 kr", "30 days"],
        ["Captain", "4 hours", "58,750 kr", "35 days"],
    ],
)
VESSELS = Known(
    ["Vessel", "Built", "Length", "Passengers", "Cars"],
    [
        ["Tern", "1987", "38 m", "120", "14"],
        ["Gannet", "2004", "61 m", "310", "52"],
        ["Puffin", "1996", "44 m", "180", "22"],
        ["Fulmar", "2019", "83 m", "480", "96"],
    ],
)
REPAIRS = Known(
    ["Vessel", "Repair", "Cost", "Yard"],
    [
        ["Tern", "new propeller", "212,000 kr", "Odde yard"],
        ["Gannet", "hull painted", "95,500 kr", "Skarn yard"],
        ["Fulmar", "battery replaced", "1,300,000 kr", "Lillo yard"],
    ],
)
HARBOURS = Known(
    ["Harbour", "Depth", "Berths", "Harbour master"],
    [
        ["Skarn", "7.5 m", "6", "Liv Aasen"],
        ["Lillo", "4.2 m", "2", "Per Moen"],
        ["Hestra", "5.8 m", "3", "Ida Rusten"],
        ["Odde", "9.1 m", "4", "Jon Tveit"],
    ],
)
TABLES: Mapping[str, tuple[Known, ...]] = {
    "fares.pdf": (FARES, DEPARTURES),
    "crew.docx": (CREW,),
    "vessels.xlsx": (VESSELS, REPAIRS),
    "harbours.html": (HARBOURS,),
    "storms.md": (),
}
"""The tables of each document."""


def documents() -> dict[str, bytes]:
    """Returns the documents by their names."""
    return {
        "fares.pdf": _fares(),
        "crew.docx": _crew(),
        "vessels.xlsx": xlsx(
            {name: [known.header, *known.rows] for name, known in (("Vessels", VESSELS), ("Repairs", REPAIRS))}
        ),
        "harbours.html": _harbours(),
        "storms.md": STORMS.encode(),
    }


STORMS = """# Storm rules of Halvorsen Ferries

Sailings are cancelled when the wind at Cape Rusk is above 22 metres per second for ten minutes.
The captain alone decides whether a ferry that has left turns back.

## Refunds

Passengers whose sailing is cancelled get their fare back within five working days, or travel on the next ferry with
the same ticket. Cars that were booked keep their place for the next day.

## Fog

In fog with less than 300 metres of sight, a ferry sounds its horn every two minutes and halves its speed.
"""


def _fares() -> bytes:
    said = "Prices hold from April to September. Children are those under sixteen, and bicycles travel free of charge."
    ruled, plain = table(FARES, GRID), table(DEPARTURES)
    return story(heading("Fares"), Paragraph(said, BODY), ruled, heading("Departures"), plain)


def _crew() -> bytes:
    made = Document()
    made.add_heading("Crew handbook", 1)
    made.add_paragraph(
        "A new deckhand serves a trial period of four months, in which either side may end the contract within a week."
    )
    grid = made.add_table(rows=0, cols=len(CREW.header))
    for row in (CREW.header, *CREW.rows):
        for cell, text in zip(grid.add_row().cells, row, strict=True):
            cell.text = text
    made.add_heading("On deck", 2)
    made.add_paragraph("Lifejackets are worn on the car deck whenever the ramps are moving.")
    made.save(into := io.BytesIO())
    return into.getvalue()


def _harbours() -> bytes:
    head = "".join(f"<th>{escape(name)}</th>" for name in HARBOURS.header)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in HARBOURS.rows)
    body = f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
    said = "<p>The quay of Hestra was rebuilt in stone after the storm of 1921; ice closes Lillo in hard winters.</p>"
    return f"<!doctype html><title>Harbours</title><h1>Harbours</h1>{said}{body}".encode()


@dataclass(frozen=True, slots=True)
class Question:
    """A right answer contains `answer`; none of the documents answers a question without one."""

    text: str
    answer: str | None


QUESTIONS = (
    Question("How much does a child pay from Skarn to Hestra?", "33 kr"),
    Question("When does the last ferry from Skarn to Lillo leave?", "23:10"),
    Question("On which days does the ferry from Skarn to Odde run?", "weekends"),
    Question("What does an engineer earn per month?", "46,900 kr"),
    Question("How long is the trial period of a new deckhand?", "four months"),
    Question("How many passengers can the Fulmar carry?", "480"),
    Question("What was repaired on the Gannet?", "hull painted"),
    Question("Who is the harbour master of Odde?", "Jon Tveit"),
    Question("At what wind speed are sailings cancelled?", "22 metres per second"),
    Question("How soon do passengers get their money back after a cancelled sailing?", "five working days"),
    Question("Does the company sell season tickets for students?", None),
    Question("Who founded Halvorsen Ferries?", None),
)
