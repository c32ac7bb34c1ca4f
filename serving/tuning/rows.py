"""Reads rows in the formats of `serving.exports.formats`, and gives each method what its trainer takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from serving.tuning.plan import Plan, RecipeFailed

Row = dict[str, Any]


def read(paths: Iterable[str]) -> list[Row]:
    """Returns the rows of files of JSON lines. Raises `RecipeFailed` for a damaged one."""
    rows: list[Row] = []
    for path in paths:
        for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
            try:
                rows.append(json.loads(line))
            except ValueError:
                raise RecipeFailed("invalid_rows", f"line {number} of {Path(path).name} is not JSON") from None
    return rows


def demonstrations(rows: Sequence[Row]) -> list[Row]:
    """Returns prompt and completion of chats: the loss counts the answer alone. Other rows give their good answers."""
    found = []
    for row in map(_trl, rows):
        if "messages" in row:
            found.append({"prompt": row["messages"][:-1], "completion": row["messages"][-1:]})
        elif "chosen" in row:
            found.append({"prompt": row["prompt"], "completion": row["chosen"]})
        elif "completion" in row and row.get("label", True):
            found.append({"prompt": row["prompt"], "completion": row["completion"]})
    return found


def pairs(rows: Sequence[Row]) -> list[Row]:
    """Returns preferences, with an explicit prompt."""
    return [
        {name: row[name] for name in ("prompt", "chosen", "rejected")} for row in map(_trl, rows) if "rejected" in row
    ]


def labelled(rows: Sequence[Row]) -> list[Row]:
    """Returns unpaired preferences."""
    return [{name: row[name] for name in ("prompt", "completion", "label")} for row in rows if "label" in row]


def _trl(row: Row) -> Row:
    """Returns OpenAI's preference rows as TRL's, and others as they are."""
    if "preferred_output" in row:
        return {
            "prompt": row["input"]["messages"],
            "chosen": row["preferred_output"],
            "rejected": row["non_preferred_output"],
        }
    return row


READERS = {"sft": demonstrations, "dpo": pairs, "reward": pairs, "kto": labelled, "distil": demonstrations}
READERS["prune"] = demonstrations


def of_method(plan: Plan, paths: Sequence[str], *, needed: bool = True) -> list[Row]:
    """Returns the rows of files as the plan's method takes them. Raises `RecipeFailed` when it can use none."""
    rows = READERS[plan.method](read(paths))
    if needed and not rows:
        raise RecipeFailed("no_rows", f"the data set has no rows that {plan.method} can use")
    if needed and plan.method == "kto" and len({row["label"] for row in rows}) < 2:
        raise RecipeFailed("no_rows", "kto needs good and bad answers, but the data set has only one kind")
    return rows
