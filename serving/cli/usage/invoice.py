"""The invoice of a month, from `/v1/admin/usage`."""

from __future__ import annotations

import calendar
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import click

from serving.cli.client import Stack
from serving.cli.usage.rows import usage_rows
from serving.metering.invoice import InvoiceLine, PayerKind, invoice, plain, totals

ATTEMPTS = 3

_COUNTS = ("requests", "prompt_tokens", "completion_tokens")


def print_invoice(stack: Stack, tenants: list[str], kind: PayerKind, month: date, today: date) -> None:
    """Prints the invoice of a month as CSV, and its sums on standard error.

    Of the month that holds `today` it has the days before: nobody could check sums that still grow.
    """
    start = month.replace(day=1)
    last = start.replace(day=calendar.monthrange(start.year, start.month)[1])
    end = min(last, today - timedelta(days=1))
    if end < start:
        raise click.UsageError(f"No day of {start:%Y-%m} is over yet (UTC).")
    lines = [line for tenant in tenants for line in _lines(stack, tenant, kind, start, end)]
    click.echo(invoice(lines, kind, start.isoformat(), end.isoformat()), nl=False)
    if end < last:
        click.echo(f"{start:%Y-%m} is not over: the invoice ends with {end}.", err=True)
    sums = ", ".join(f"{plain(amount)} {currency}" for currency, amount in totals(lines).items())
    click.echo(f"Total: {sums or 'no cost'}", err=True)


def _lines(stack: Stack, tenant: str, kind: PayerKind, start: date, end: date) -> list[InvoiceLine]:
    """Returns a tenant's lines, which add up to what `/v1/admin/usage` says of each model.

    They are read again if usage changed in between, as in the seconds after midnight.
    """
    for _ in range(ATTEMPTS):
        models = usage_rows(stack, tenant, start, end, "model")
        found = {model: usage_rows(stack, tenant, start, end, kind, model) for model in models}
        if all(_sum(found[model].values()) == _sum([row]) for model, row in models.items()):
            return [_line(tenant, payer, model, row) for model, rows in found.items() for payer, row in rows.items()]
    raise click.ClickException(f"The usage of {tenant} changes while it is read: try again in a minute.")


def _sum(rows: Any) -> Counter[str]:
    """Returns the exact sums of rows, of money in each currency."""
    sums: Counter[Any] = Counter()
    for row in rows:
        sums.update({name: row[name] for name in _COUNTS})
        sums.update({f"cost {each['currency']}": Decimal(each["amount"]) for each in row["cost"]})
    return sums


def _line(tenant: str, payer: str, model: str, row: dict[str, Any]) -> InvoiceLine:
    cost = tuple((each["currency"], Decimal(each["amount"])) for each in row["cost"])
    return InvoiceLine(tenant, payer, model, row["requests"], row["prompt_tokens"], row["completion_tokens"], cost)
