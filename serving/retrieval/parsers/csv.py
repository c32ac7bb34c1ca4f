"""Files of rows with separators: CSV and TSV."""

from __future__ import annotations

import csv

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers.table import add_table
from serving.retrieval.types import Document

_SEPARATORS = ",;\t|"


def parse_csv(text: str, name: str, bounds: ChunkBounds) -> Document:
    """Each row becomes a block that repeats the column names."""
    builder = DocumentBuilder("csv", bounds)
    csv.field_size_limit(bounds.characters)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
    try:
        add_table(builder, csv.reader(lines, delimiter=_separator(lines)), headed=True)
    except csv.Error:
        raise UnreadableDocument("damaged", "the file cannot be divided into rows") from None
    return builder.build(name)


def _separator(lines: list[str]) -> str:
    """Returns the field separator: the character that is in most of the first lines, equally often."""

    def likelihood(separator: str) -> tuple[int, int]:
        counts = [len(next(csv.reader([line], delimiter=separator), ())) for line in lines[:20] if line.strip()]
        most = max(counts, default=1)
        return (counts.count(most) if most > 1 else 0), most

    return max(_SEPARATORS, key=likelihood)
