"""`headrace usage`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, limited, of_tenant
from serving.cli.output import show
from serving.cli.usage.invoice import print_invoice
from serving.core.ids import now

COLUMNS = ("id", "requests", "prompt_tokens", "completion_tokens", "cost")

ALL = 1_000_000
"""More tenants than any stack has."""

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command(epilog="Example: headrace usage --by user --start 2026-05-01 --end 2026-05-31 --tenant acme")
@click.option(
    "--by",
    type=click.Choice(("day", "user", "key", "model")),
    help="Grouping of the rows: by default day, and of an invoice user.",
)
@click.option("--start", type=_DAY, metavar="DAY", help="The first day, UTC; by default the first of this month.")
@click.option("--end", type=_DAY, metavar="DAY", help="The last day, UTC; by default today.")
@click.option("--user", metavar="USER", help="Only usage of this user.")
@click.option("--model", metavar="MODEL", help="Only usage of this model, by the name that was asked for.")
@click.option("--mine", is_flag=True, help="Usage of the API key's own user, for which any key suffices.")
@click.option(
    "--forecast",
    is_flag=True,
    help="Forecast the usage of this month, with 90 % intervals, and when monthly quotas are used up; of the tenant "
    "and of each model.",
)
@click.option(
    "--invoice",
    type=click.DateTime(["%Y-%m"]),
    metavar="MONTH",
    help="Print the invoice of a month such as 2026-05 as CSV: what each user or key used of each model. Of the "
    "current month it has the days that are over.",
)
@click.option("--all-tenants", is_flag=True, help="Forecast or invoice of every tenant, for the stack's own key.")
@limited
@of_tenant
@as_json
@click.pass_obj
def usage(
    stack: Stack,
    by: str | None,
    start: datetime | None,
    end: datetime | None,
    user: str | None,
    model: str | None,
    mine: bool,
    forecast: bool,
    invoice: datetime | None,
    all_tenants: bool,
    limit: int,
    tenant: str | None,
    json: bool,
) -> None:
    """Shows a tenant's usage and its cost. Requires a key with the scope operate, except with --mine.

    A forecast knows quotas only with the scope admin.
    """
    given = {"--start": start, "--end": end, "--user": user, "--model": model, "--mine": mine or None}
    if forecast or invoice:
        given |= {"--forecast": (forecast and invoice) or None, "--tenant": tenant if all_tenants else None}
        given |= {"--by": by if forecast or by in ("day", "model") else None, "--json": (invoice and json) or None}
        _exclude("--invoice" if invoice else "--forecast", given)
        at = datetime.fromtimestamp(now(), UTC)
        tenants = _tenants(stack, tenant, every=all_tenants)
        if invoice:
            print_invoice(stack, tenants, "key" if by == "key" else "user", invoice.date(), at.date())
        else:
            from serving.cli.usage import forecast as forecasting  # NumPy takes longer than any other command takes

            show({"object": "list", "data": forecasting.forecasts(stack, tenants, at)}, forecasting.COLUMNS, json=json)
        return
    if all_tenants:
        raise click.UsageError("--all-tenants is for --forecast and --invoice.")
    query = {"start": _day(start), "end": _day(end), "by": by or "day", "model": model}
    if not mine:
        show(stack.list("/admin/usage", limit, **query, user=user, tenant=tenant), COLUMNS, json=json)
    elif user is None and tenant is None and by != "user":
        show(stack.list("/usage", limit, **query), COLUMNS, json=json)
    else:
        raise click.UsageError("--mine cannot be combined with --user, --tenant or --by user.")


def _exclude(option: str, given: dict[str, Any]) -> None:
    for other, value in given.items():
        if value is not None:
            raise click.UsageError(f"{option} excludes {other}{f' {value}' if other == '--by' else ''}.")


def _tenants(stack: Stack, tenant: str | None, *, every: bool) -> list[str]:
    """Returns the ids of the tenants, in order."""
    if every:
        return sorted(each["id"] for each in stack.list("/admin/tenants", ALL, order="asc")["data"])
    return [tenant if tenant is not None else stack.get("/me")["tenant"]]


def _day(given: date | None) -> str | None:
    return f"{given:%Y-%m-%d}" if given is not None else None
