"""Tables of pages that a browser prints: as the file itself describes them, and by their place alone."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import pytest

from serving.retrieval.chunk import ChunkSettings, chunk
from serving.retrieval.parse import parse
from serving.retrieval.text.tokens import WordPieces
from tests.servers.browser import Chromium, Page
from tests.unit.retrieval.tables.documents import DUTIES, EMPTY, GATES, MERGED, PRICES, PROSE, Known, not_found

STYLES: Mapping[str, str] = {
    "none": "",
    "borders": "table, td, th { border: 1px solid }",
    "cells": "table { border-collapse: collapse } td, th { border: 1px solid #999; padding: 4px 8px }",
    "rows": "table { border-collapse: collapse } td, th { border-bottom: 1px solid #ddd; padding: 8px }",
    "stripes": "td, th { padding: 6px 10px } tr:nth-child(even) { background: #eee } th { background: #acf }",
    "centred": "table { margin: auto } td, th { padding: 3px 10px; text-align: center }",
    "right": "td, th { text-align: right; padding: 2px 12px }",
    "wide": "table { width: 100% } td, th { text-align: left; padding: 4px }",
    "small": "table { font-size: 8px } td, th { padding: 1px 4px; text-align: left }",
    "tall": "td, th { padding: 20px 10px; text-align: left }",
}
CLOSE = ("none",)
"""Styles whose columns are no farther apart than words: only the file's own description tells them."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    browser = Chromium()
    try:
        with browser.page() as opened:
            yield opened
    finally:
        browser.close()


def markup(known: Known) -> str:
    head = "".join(f"<th>{escape(name)}" for name in known.header)
    if known is MERGED:
        head = "<th rowspan=2>Gate<th colspan=2>2023<th colspan=2>2024<tr><th>Boats<th>Tons<th>Boats<th>Tons"
    rows = ("".join(f"<td>{escape(cell)}" for cell in row) for row in known.rows)
    return f"<table><thead><tr>{head}<tbody>{''.join(f'<tr>{row}' for row in rows)}</table>"


def printed(page: Page, style: str, tables: Sequence[Known], described: bool) -> bytes:
    body = "".join(f"<h2>Table {number}</h2><p>{PROSE}</p>{markup(known)}" for number, known in enumerate(tables))
    source = f"<!doctype html><meta charset=utf-8><title>x</title><style>{style}</style>{body}<p>{PROSE}</p>"
    page.open("data:text/html;base64," + base64.b64encode(source.encode()).decode())
    made = page.ask("Page.printToPDF", printBackground=True, generateTaggedPDF=described)
    return base64.b64decode(made["data"])


def lost(data: bytes, tables: Sequence[Known], counter: WordPieces) -> list[str]:
    chunks = [each.text for each in chunk(parse(data, "a.pdf"), counter, ChunkSettings())]
    return [cell for known in tables for cell in not_found(known, chunks)]


@pytest.mark.parametrize("style", STYLES)
def test_each_cell_of_a_printed_page_is_found(page: Page, style: str) -> None:
    counter = WordPieces()
    tables = [GATES, PRICES, DUTIES, EMPTY, MERGED]
    assert lost(printed(page, STYLES[style], tables, True), tables, counter) == []
    if style not in CLOSE:
        tables = [GATES, PRICES, DUTIES]
        assert lost(printed(page, STYLES[style], tables, False), tables, counter) == []


def test_a_table_in_a_column_of_text_is_found(page: Page) -> None:
    style = "body { columns: 2 } td, th { padding: 2px 8px; text-align: left }"
    assert lost(printed(page, style, [GATES], True), [GATES], WordPieces()) == []
