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
_ELEMENTS = 100_000
_COLUMNS = 1_000
_GROUPS = ("THead", "TBody", "TFoot")


class TableTags:
    """The cells of a page by the numbers of their marked content; none on a page without such a structure."""

    def __init__(self, page: pypdfium2.PdfPage) -> None:
        self.cells: dict[int, CellTag] = {}
        self._tables = 0
        self._left = _ELEMENTS
        tree = raw.FPDF_StructTree_GetForPage(page)
        if not tree:
            return
        try:
            for at in range(raw.FPDF_StructTree_CountChildren(tree)):
                self._walk(raw.FPDF_StructTree_GetChildAtIndex(tree, at), 0)
        finally:
            raw.FPDF_StructTree_Close(tree)

    def _walk(self, element: Any, depth: int) -> None:
        """Finds the tables in an element; one within a cell of another is a table of its own."""
        if not element or depth > _DEPTH:
            return
        if _kind(element) == "Table":
            self._table(element, depth)
            return
        for child in self._children(element):
            self._walk(child, depth + 1)

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
                if column + width > _COLUMNS:
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
        for at in range(max(raw.FPDF_StructElement_CountChildren(element), 0)):
            child = self._child(element, at)
            if not child:
                number = raw.FPDF_StructElement_GetChildMarkedContentID(element, at)
                if number >= 0:
                    self.cells.setdefault(number, tag)
            elif _kind(child) == "Table":
                self._table(child, depth + 1)
            else:
                self._mark(child, tag, depth + 1)

    def _children(self, element: Any) -> Iterator[Any]:
        for at in range(max(raw.FPDF_StructElement_CountChildren(element), 0)):
            child = self._child(element, at)
            if child:
                yield child

    def _child(self, element: Any, at: int) -> Any:
        self._left -= 1
        return raw.FPDF_StructElement_GetChildAtIndex(element, at) if self._left > 0 else None


def _kind(element: Any) -> str:
    buffer = ctypes.create_string_buffer(64)
    size = raw.FPDF_StructElement_GetType(element, buffer, 64)
    return buffer.raw[: max(min(size, 64) - 2, 0)].decode("utf-16-le", errors="replace")


def _span(element: Any, name: bytes) -> int:
    number = ctypes.c_float()
    for at in range(max(raw.FPDF_StructElement_GetAttributeCount(element), 0)):
        attributes = raw.FPDF_StructElement_GetAttributeAtIndex(element, at)
        value = raw.FPDF_StructElement_Attr_GetValue(attributes, name)
        if value and raw.FPDF_StructElement_Attr_GetNumberValue(value, number):
            return int(min(max(number.value, 1), _COLUMNS))
    return 1
