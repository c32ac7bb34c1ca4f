"""Invoices of usage, as CSV that a spreadsheet can open without harm."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from serving.config import MONEY_PLACES

PayerKind = Literal["user", "key"]

_MILLION = 1_000_000
_FORMULA = frozenset("=+-@＝＋－＠'")
"""What begins a formula in a spreadsheet, and the apostrophe, so that no two names become the same cell."""
_CELL_ENDS = frozenset(";,|\t\r\n")
"""What ends a cell, also for programs that separate cells by another character than ours."""


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """What a user or a key of a tenant used of a model; `cost` has the amount in each currency, if any is known."""

    tenant: str
    payer: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: tuple[tuple[str, Decimal], ...]


def invoice(lines: Iterable[InvoiceLine], kind: PayerKind, start: str, end: str) -> str:
    """Returns an invoice for the days from `start` to `end` as CSV of RFC 4180, ordered by tenant, payer and model.

    A line with costs in several currencies becomes several rows, of which only the first has the counts, so that every
    column adds up. `price_per_million_tokens` is the cost divided by the tokens, rounded to billionths: the mean of the
    prices that applied. It is empty if there is no single cost, or no token.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    counted = ("requests", "prompt_tokens", "completion_tokens")
    writer.writerow(("tenant", "start", "end", kind, "model", *counted, "price_per_million_tokens", "cost", "currency"))
    for line in sorted(lines, key=lambda each: (each.tenant, each.payer, each.model)):
        names = (cell(line.tenant), start, end, cell(line.payer), cell(line.model))
        counts = (line.requests, line.prompt_tokens, line.completion_tokens)
        for currency, amount in sorted(line.cost) or (("", None),):
            cost = "" if amount is None else plain(amount)
            writer.writerow((*names, *counts, _price(line), cost, currency))
            counts = (0, 0, 0)
    return out.getvalue()


def totals(lines: Sequence[InvoiceLine]) -> dict[str, Decimal]:
    """Returns the exact sum of all costs in each currency."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        for currency, amount in line.cost:
            sums[currency] += amount
    return dict(sorted(sums.items()))


def cell(text: str) -> str:
    """Returns a name that no spreadsheet takes for a formula: an apostrophe is put before what could begin one.

    Follows OWASP's advice on CSV injection, <https://owasp.org/www-community/attacks/CSV_Injection>.
    """
    made = []
    begins = True
    for character in text:
        if begins and character in _FORMULA:
            made.append("'")
        made.append(character)
        begins = character in _CELL_ENDS or (begins and (character.isspace() or character == '"'))
    return "".join(made)


def plain(amount: Decimal) -> str:
    """Returns an amount in the API's format: without exponent and trailing zeros."""
    return f"{amount.normalize():f}"


def _price(line: InvoiceLine) -> str:
    tokens = line.prompt_tokens + line.completion_tokens
    if len(line.cost) != 1 or tokens == 0:
        return ""
    return plain((line.cost[0][1] * _MILLION / tokens).quantize(Decimal(1).scaleb(-MONEY_PLACES)))
