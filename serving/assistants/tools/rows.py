"""What came of a query, within bounds, and its text for a model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_SQL = 10_000
"""Characters of a query."""

MAX_COLUMNS = 200
MAX_CELL = 500
"""Characters of a value that are shown."""

MAX_SHOWN = 3500
"""Characters of all rows that are shown, so that nothing of them is cut later without a word."""

Cell = int | float | str | None


@dataclass(frozen=True, slots=True)
class Rows:
    """The first rows of a result; `more` when there are others."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    more: bool

    @property
    def text(self) -> str:
        """Names and rows as JSON, a line each, after their number."""
        lines = [_line([name[:100] for name in self.columns])]
        size = len(lines[0])
        for row in self.rows:
            line = _line(row)
            size += len(line) + 1
            if size > MAX_SHOWN:
                break
            lines.append(line)
        shown = len(lines) - 1
        more = self.more or shown < len(self.rows)
        count = f"the first {shown} rows; there are more" if more else f"{shown} row{'' if shown == 1 else 's'}"
        return "\n".join([f"{count}:", *lines])


def cell(value: object) -> Cell:
    """Returns a value in a form that is short and that JSON has."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    text = str(value)
    return text if len(text) <= MAX_CELL else text[:MAX_CELL] + "…"


def _line(cells: Sequence[Cell]) -> str:
    return json.dumps(list(cells), ensure_ascii=False, separators=(",", ":"))
