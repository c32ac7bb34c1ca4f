"""Usage as commands compute with it, read from `/v1/admin/usage`."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from serving.cli.client import Stack

MOST_ROWS = 1_000_000
"""More users, keys, models or days than any tenant has."""


class Quantity(NamedTuple):
    """What is measured; `currency` is empty for all but money. The names are those of quotas."""

    measure: str
    currency: str


REQUESTS = Quantity("requests", "")
TOKENS = Quantity("tokens", "")


def usage_rows(
    stack: Stack, tenant: str, start: date, end: date, by: str, model: str | None = None
) -> dict[str, dict[str, Any]]:
    """Returns all rows of `/v1/admin/usage` by their ids."""
    days = {"start": start.isoformat(), "end": end.isoformat()}
    found = stack.list("/admin/usage", MOST_ROWS, **days, by=by, model=model, tenant=tenant)
    return {row["id"]: row for row in found["data"]}


def amounts(row: dict[str, Any]) -> dict[Quantity, Decimal]:
    """Returns the exact amounts of a row."""
    counts = {
        REQUESTS: Decimal(row["requests"]),
        TOKENS: Decimal(row["prompt_tokens"] + row["completion_tokens"]),
    }
    return counts | {Quantity("money", each["currency"]): Decimal(each["amount"]) for each in row["cost"]}
