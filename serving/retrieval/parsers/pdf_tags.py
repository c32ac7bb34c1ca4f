"""Tables that a PDF itself describes: the structure that Word, LibreOffice and browsers write beside the text.

ISO 32000-1, 14.7 and 14.8: a tree of elements names which marked content is in which cell.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pypdfium2
from pypdfium2 import raw

from serving.retrieval.parsers.pieces import CellTag

_DEPTH = 60
_VISITS = 10_000_000
"""Children of elements that are looked at for all pages of a document: a few seconds of processor time.

PDFium gives a page's part of the tree with all children of each element in it, also those on other pages. A table of
10,000 rows over 500 pages takes half of this, a book of paragraphs nothing; of what comes after, gaps and drawn lines
alone tell the tables.
"""
_FORMS = 4
"""Depth of Form XObjects in which marked content is looked for."""
_COLUMNS = 1_000
_ATTRIBUTES = 20
"""Number of an element's attribute objects that may have its spans."""
_BESIDE = 0.25
"""Share of the lower of two boxes beside which the other must be."""
_GROUPS = ("THead", "TBody", "TFoot")

Tags = dict[int, CellTag]
"""Cells by the addresses of PDFium's text objects in them."""


class TableTags:
    """Reads which cells of tables the texts of a document's pages are in."""

    def __init__(self, document: pypdfium2.PdfDocument, visits: int = _VISITS) -> None:
        self.visits_left = visits if raw.FPDFCatalog_IsTagged(document) else 0

    def of_page(self, page: pypdfium2.PdfPage) -> Tags:
        """Returns the cells of a page's texts; none for a page without such a structure, or if it is not reliable.

        Marked content is numbered separately on the page and in each Form XObject on it, and PDFium does not tell
        whose numbers an element has. So a page with marked content in a Form XObject has no tags.
        """
        if self.visits_left <= 0:
            return {}
        marked: dict[int, int] = {}
        extents: dict[int, tuple[float, float]] = {}
        for text in page.get_objects(filter=(raw.FPDF_PAGEOBJ_TEXT,), max_depth=_FORMS):
            number = raw.FPDFPageObj_GetMarkedContentID(text)
            if number < 0:
                continue
            if text.container is not None:
                return {}
            marked[address(text.raw)] = number
            bottom, top = _extent(text.raw)
            low, high = extents.get(number, (bottom, top))
            extents[number] = min(low, bottom), max(high, top)
        if not _side_by_side(list(extents.values())):
            return {}
        cells = self._cells(page)
        return {at: cells[number] for at, number in marked.items() if number in cells}

    def _cells(self, page: pypdfium2.PdfPage) -> dict[int, CellTag]:
        """Returns the cells of a page by the numbers of their marked content."""
        tree = raw.FPDF_StructTree_GetForPage(page)
        if not tree:
            return {}
        found = _Cells(self.visits_left)
        try:
            for at in range(raw.FPDF_StructTree_CountChildren(tree)):
                found.add(raw.FPDF_StructTree_GetChildAtIndex(tree, at), 0)
        finally:
            raw.FPDF_StructTree_Close(tree)
        self.visits_left = found.visits_left
        return found.cells if found.visits_left > 0 else {}


class _Cells:
    """The cells in a page's part of the structure tree."""

    def __init__(self, visits: int) -> None:
        self.cells: dict[int, CellTag] = {}
        self.visits_left = visits
        self._tables = 0

    def add(self, element: Any, depth: int) -> None:
        """Finds the tables in an element; one within a cell of another is a table of its own."""
        if not element or depth > _DEPTH:
            return
        if _kind(element) == "Table":
            self._table(element, depth)
            return
        for child in self._children(element):
            self.add(child, depth + 1)

    def _table(self, element: Any, depth: int) -> None:
        number, self._tables = self._tables, self._tables + 1
        taken: dict[int, int] = {}  # column -> the last row that a cell above reaches
        for at, row in enumerate(self._rows(element)):
            column = 0
            for cell in self._children(row):
                kind = _kind(cell)
                if kind not in ("TH", "TD"):
                    continue
                while taken.get(column, -1) >= at:
                    column += 1
                width, height = (_span(cell, name) for name in (b"ColSpan", b"RowSpan"))
                if column + width > _COLUMNS or not self._spend(width):
                    break
                taken.update(dict.fromkeys(range(column, column + width), at + height - 1))
                tag = CellTag(number, at, at + height - 1, column, column + width - 1, kind == "TH")
                self._mark(cell, tag, depth + 1)
                column += width

    def _rows(self, table: Any) -> Iterator[Any]:
        for child in self._children(table):
            if _kind(child) == "TR":
                yield child
            elif _kind(child) in _GROUPS:
                yield from (row for row in self._children(child) if _kind(row) == "TR")

    def _mark(self, element: Any, tag: CellTag, depth: int) -> None:
        if depth > _DEPTH:
            return
        for at in self._places(element):
            child = raw.FPDF_StructElement_GetChildAtIndex(element, at)
            if not child:
                number = raw.FPDF_StructElement_GetChildMarkedContentID(element, at)
                if number >= 0:
                    self.cells.setdefault(number, tag)
            elif _kind(child) == "Table":
                self._table(child, depth + 1)
            else:
                self._mark(child, tag, depth + 1)

    def _children(self, element: Any) -> Iterator[Any]:
        """Yields the children that are on this page."""
        for at in self._places(element):
            child = raw.FPDF_StructElement_GetChildAtIndex(element, at)
            if child:
                yield child

    def _places(self, element: Any) -> range:
        count = max(raw.FPDF_StructElement_CountChildren(element), 0)
        return range(count if self._spend(count) else 0)

    def _spend(self, visits: int) -> bool:
        self.visits_left -= visits
        return self.visits_left > 0


def address(text: Any) -> int:
    """Returns what identifies a PDFium object on a page that is open."""
    return ctypes.cast(text, ctypes.c_void_p).value or 0


def _extent(text: Any) -> tuple[float, float]:
    """Returns the bottom and top of a text object."""
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    raw.FPDFPageObj_GetBounds(text, left, bottom, right, top)
    return bottom.value, top.value


def _side_by_side(extents: list[tuple[float, float]]) -> bool:
    """Returns whether two texts are beside each other: on a page without any, no structure is a table."""
    below: tuple[float, float] | None = None
    for bottom, top in sorted(extents):
        if below is not None:
            height = min(below[1] - below[0], top - bottom)
            if min(below[1], top) - bottom > _BESIDE * height:
                return True
        if below is None or top > below[1]:
            below = bottom, top
    return False


def _kind(element: Any) -> str:
    buffer = ctypes.create_string_buffer(64)
    size = raw.FPDF_StructElement_GetType(element, buffer, 64)
    return buffer.raw[: max(min(size, 64) - 2, 0)].decode("utf-16-le", errors="replace")


def _span(element: Any, name: bytes) -> int:
    number = ctypes.c_float()
    for at in range(max(min(raw.FPDF_StructElement_GetAttributeCount(element), _ATTRIBUTES), 0)):
        attributes = raw.FPDF_StructElement_GetAttributeAtIndex(element, at)
        value = raw.FPDF_StructElement_Attr_GetValue(attributes, name)
        if value and raw.FPDF_StructElement_Attr_GetNumberValue(value, number):
            return int(min(max(number.value, 1), _COLUMNS))
    return 1
