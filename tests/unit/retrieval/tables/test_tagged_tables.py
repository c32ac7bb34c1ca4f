"""Tables that a PDF itself describes, in files made by hand: their cells, and how much of the description is read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import pypdfium2
import pytest

from serving.retrieval.parse import parse
from serving.retrieval.parsers import pdf
from serving.retrieval.parsers.pdf_tags import TableTags
from tests.unit.retrieval.tables.tagged import Element, Text, tagged

CLOSE = 26
"""Distance of columns in points at which texts of five letters are no farther apart than words."""
NAMES = ["Gates", "Boats"]
ROWS = [["North", "eight"], ["South", "seven"], ["Upper", "fifty"]]


def texts_of(rows: Sequence[Sequence[str]], top: float = 700, step: float = CLOSE) -> list[Text]:
    return [Text(cell, 72 + step * c, top - 14 * r) for r, row in enumerate(rows) for c, cell in enumerate(row)]


def described(rows: Sequence[Sequence[str]], page: int = 0, before: int = 0) -> Element:
    """The element of a table whose cells are the texts of a page from number `before`; its first row names columns."""
    numbers = iter(range(before, before + sum(map(len, rows))))
    lines = []
    for at, row in enumerate(rows):
        cells = [Element("TD" if at else "TH", [Element("P", [(page, next(numbers))])]) for _ in row]
        lines.append(Element("TR", cells))
    return Element("Table", [Element("THead", lines[:1]), Element("TBody", lines[1:])])


def blocks(data: bytes) -> list[str]:
    return [block.text for block in parse(data, "a.pdf").blocks]


def test_cells_are_those_that_the_file_describes() -> None:
    rows = [NAMES, *ROWS]
    found = ["Gates: North | Boats: eight", "Gates: South | Boats: seven", "Gates: Upper | Boats: fifty"]
    heading = Text("The gates of the canal", 72, 740)
    structure = Element("Document", [Element("H1", [(0, 0)]), described(rows, before=1)])
    assert blocks(tagged([[heading, *texts_of(rows)]], structure)) == ["The gates of the canal", *found]
    plain = blocks(tagged([[heading, *texts_of(rows)]], Element("Document", [])))
    assert not set(found) & set(plain), "the columns must be so close that only the description tells them"


def test_a_described_cell_may_span_columns_and_rows() -> None:
    texts = [
        *(Text("Years", 98, 728), Text("Gates", 72, 714), Text("first", 98, 714), Text("later", 124, 714)),
        *(Text("North", 72, 700), Text("1801", 98, 700), Text("1901", 124, 700)),
        *(Text("1802", 98, 686), Text("1902", 124, 686)),
    ]

    def cell(number: int, kind: str = "TD", **spans: int) -> Element:
        return Element(kind, [(0, number)], spans)

    table = Element(
        "Table",
        [
            Element("TR", [cell(1, "TH", RowSpan=2), cell(0, "TH", ColSpan=2)]),
            Element("TR", [cell(2, "TH"), cell(3, "TH")]),
            Element("TR", [cell(4, RowSpan=2), cell(5), cell(6)]),
            Element("TR", [cell(7), cell(8)]),
        ],
    )
    assert blocks(tagged([texts], Element("Document", [table]))) == [
        "Gates: North | Years first: 1801 | Years later: 1901",
        "Gates: North | Years first: 1802 | Years later: 1902",
    ]


def test_a_table_within_a_cell_is_a_table_of_its_own() -> None:
    inner = [["Names", "Wages"], ["Annie", "three"], ["Bobby", "forty"]]
    outer = texts_of([["Plans", "Dates"], ["Walls", "April"], ["Doors", "March"]])
    within = described(inner, before=6)
    cells = [[Element("TH", [(0, 0)]), Element("TH", [(0, 1)])], [Element("TD", [(0, 2)]), Element("TD", [(0, 3)])]]
    cells.append([Element("TD", [(0, 4)]), Element("TD", [(0, 5), within])])
    table = Element("Table", [Element("TR", row) for row in cells])
    found = blocks(tagged([[*outer, *texts_of(inner, top=620)]], Element("Document", [table])))
    assert {"Plans: Walls | Dates: April", "Plans: Doors | Dates: March"} <= set(found)
    assert {"Names: Annie | Wages: three", "Names: Bobby | Wages: forty"} <= set(found)


def test_marked_content_of_a_form_is_in_no_cell_of_the_page() -> None:
    rows = [NAMES, *ROWS]
    stamp = [Text(f"stamp{n}", 300, 400 - 40 * n, form=True) for n in range(8)]
    data = tagged([[*texts_of(rows), *stamp]], Element("Document", [described(rows)]))
    text = parse(data, "a.pdf").text
    assert [word for row in rows for word in row if word not in text] == []
    for n in range(8):
        [block] = [block for block in blocks(data) if f"stamp{n}" in block]
        assert not any(word in block for row in rows for word in row)


def test_text_of_a_form_without_marks_does_not_disturb_described_cells() -> None:
    rows = [NAMES, *ROWS]
    stamp = Text("stamp", 300, 400, form=True, marked=False)
    found = blocks(tagged([[*texts_of(rows), stamp]], Element("Document", [described(rows)])))
    assert found == [
        "Gates: North | Boats: eight",
        "Gates: South | Boats: seven",
        "Gates: Upper | Boats: fifty",
        "stamp",
    ]


def paragraphs(pages: int, each: int = 20) -> bytes:
    texts = [[Text(f"Paragraph {n} of page {p}.", 72, 800 - 20 * n) for n in range(each)] for p in range(pages)]
    return tagged(texts, Element("Document", [Element("P", [(p, n)]) for p in range(pages) for n in range(each)]))


def ledger(pages: int, step: float = 150) -> tuple[bytes, list[list[str]]]:
    """One table over pages of 20 rows, and these."""
    rows = [[f"Entry {p}-{r}", f"sum {p * 20 + r}"] for p in range(pages) for r in range(20)]
    texts = [texts_of(rows[20 * p : 20 * p + 20], step=step) for p in range(pages)]
    lines = [
        Element("TR", [Element("TD", [(p, 2 * r)]), Element("TD", [(p, 2 * r + 1)])])
        for p in range(pages)
        for r in range(20)
    ]
    return tagged(texts, Element("Document", [Element("Table", lines)])), rows


def visits(data: bytes, bound: int = 1_000_000) -> list[int]:
    """How many children of elements are looked at for each page."""
    with pypdfium2.PdfDocument(data) as document:
        tags = TableTags(document, bound)
        left = [tags.visits_left]
        for page in document:
            tags.of_page(page)
            left.append(tags.visits_left)
    return [a - b for a, b in pairwise(left)]


@pytest.mark.parametrize("pages", [5, 40])
def test_pages_without_texts_side_by_side_cost_no_reading_of_the_structure(pages: int) -> None:
    assert visits(paragraphs(pages)) == [0] * pages


def test_a_page_with_a_table_costs_the_children_of_its_own_elements() -> None:
    pages = 10
    # the document's one table, its 200 rows, two cells in each of the 20 here, the content of each of these 40
    # cells, and the two columns that each row takes
    assert visits(ledger(pages)[0]) == [1 + 20 * pages + 2 * 20 + 40 + 40] * pages


def test_all_pages_of_a_document_share_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    data, rows = ledger(10)
    each = visits(data)[0]
    assert visits(data, bound=3 * each + 1) == [each] * 3 + [1] + [0] * 6
    monkeypatch.setattr(pdf, "TableTags", partial(TableTags, visits=3 * each + 1))
    assert blocks(data) == [" | ".join(row) for row in rows], "gaps tell the columns of the other pages"
