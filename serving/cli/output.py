"""The output of commands: a table for people, or the API's answer as JSON."""

from __future__ import annotations

import json as encoding
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

MAX_CELL = 60
MAX_TIME = 253_402_300_800
"""Unix seconds of the year 10000."""


def show(answer: Mapping[str, Any], columns: Sequence[str], *, json: bool) -> None:
    """Prints the items of a list, or one object, as a table with these `columns`."""
    if json:
        click.echo(encoding.dumps(answer, indent=2, ensure_ascii=False))
        return
    rows = answer["data"] if answer.get("object") == "list" else [answer]
    for line in table([[cell(name, row.get(name)) for name in columns] for row in rows], columns):
        click.echo(line)
    if answer.get("has_more"):
        click.echo("There are more: raise --limit.", err=True)


def table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> list[str]:
    """Returns the lines of a table; a column is as wide as its widest cell."""
    whole = [[name.upper() for name in columns], *rows]
    widths = [max(len(row[n]) for row in whole) for n in range(len(columns))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in whole]


def cell(name: str, value: Any) -> str:
    """Returns a value on one line: times as UTC, lists with commas, None as a dash, and no control characters."""
    if value is None:
        return "-"
    if name.endswith("_at") and isinstance(value, int | float) and 0 <= value < MAX_TIME:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        text = ",".join(_money(v) if isinstance(v, dict) and "currency" in v else str(v) for v in value)
    elif isinstance(value, dict):
        text = encoding.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return (text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…") or "-"


def _money(amount: Mapping[str, Any]) -> str:
    return f"{amount.get('amount')} {amount['currency']}"
