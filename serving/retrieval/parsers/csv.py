"""Files of rows with separators: CSV and TSV."""

from __future__ import annotations

import csv

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers.table import add_table
from serving.retrieval.types import Document

_SEPARATORS = ",;\t|"


def parse_csv(text: str, name: str, bounds: ChunkBounds) -> Document:
    """A row is a block that repeats the names of its columns."""
    builder = DocumentBuilder("csv", bounds)
    csv.field_size_limit(bounds.characters)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
    try:
        add_table(builder, csv.reader(lines, delimiter=_separator(lines)), headed=True)
    except csv.Error:
        raise UnreadableDocument("damaged", "the rows of the file cannot be told apart") from None
    return builder.build(name)


def _separator(lines: list[str]) -> str:
    """Returns what separates the fields: what stands in most of the first lines, equally often."""

    def likelihood(separator: str) -> tuple[int, int]:
        counts = [len(next(csv.reader([line], delimiter=separator), ())) for line in lines[:20] if line.strip()]
        most = max(counts, default=1)
        return (counts.count(most) if most > 1 else 0), most

    return max(_SEPARATORS, key=likelihood)
