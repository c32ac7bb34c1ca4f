"""The result of a query, within limits, and its text for a model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_SQL = 10_000
"""Maximum number of characters of a query."""

MAX_COLUMNS = 200
MAX_CELL = 500
"""Maximum number of characters of a shown value."""

MAX_SHOWN = 3500
"""Maximum number of characters of all shown rows, so that they are not truncated later without notice."""

Cell = int | float | str | None


@dataclass(frozen=True, slots=True)
class Rows:
    """The first rows of a result; `more` when there are others."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    more: bool

    @property
    def text(self) -> str:
        """Names and rows as JSON, one line each, after their number; if not even one row fits, its values are
        truncated.
        """
        names = _fitted([name[:100] for name in self.columns], MAX_SHOWN // 3)
        room = MAX_SHOWN - len(names)
        lines: list[str] = []
        for row in self.rows:
            line = _line(row)
            room -= len(line) + 1
            if room < 0:
                break
            lines.append(line)
        cut = not lines and bool(self.rows)
        if cut:
            lines.append(_fitted(self.rows[0], MAX_SHOWN - len(names)))
        more = self.more or len(lines) < len(self.rows)
        count = f"the first {len(lines)} rows; there are more" if more else f"{len(lines)} row{'s'[: len(lines) != 1]}"
        return "\n".join([f"{count}{'; values are cut' if cut else ''}:", names, *lines])


def cell(value: object) -> Cell:
    """Returns a value in a short form that JSON can represent."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    text = str(value)
    return text if len(text) <= MAX_CELL else text[:MAX_CELL] + "…"


def _line(cells: Sequence[Cell]) -> str:
    return f"[{','.join(map(_json, cells))}]"


def _json(value: Cell) -> str:
    return json.dumps(value, ensure_ascii=False)


def _fitted(cells: Sequence[Cell], room: int) -> str:
    """Returns a line of at most `room` characters, in which each value that exceeds its share is truncated."""
    line = _line(cells)
    if len(line) <= room:
        return line
    share = (room - 2) // len(cells) - 1
    return f"[{','.join(_cut(value, share) for value in cells)}]"


def _cut(value: Cell, share: int) -> str:
    whole = _json(value)
    if len(whole) <= share:
        return whole
    left = share - len(_json("…"))
    kept = ""
    for character in str(value):
        left -= len(_json(character)) - 2  # without its quotes
        if left < 0:
            break
        kept += character
    return _json(f"{kept}…")
