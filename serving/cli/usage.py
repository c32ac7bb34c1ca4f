"""`headrace usage`."""

from __future__ import annotations

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, limited, of_tenant
from serving.cli.output import show

COLUMNS = ("id", "requests", "prompt_tokens", "completion_tokens", "cost")

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command(epilog="Example: headrace usage --by user --start 2026-05-01 --end 2026-05-31 --tenant acme")
@click.option(
    "--by",
    type=click.Choice(("day", "user", "key", "model")),
    default="day",
    show_default=True,
    help="Grouping of the rows.",
)
@click.option("--start", type=_DAY, metavar="DAY", help="The first day, UTC; by default the first of this month.")
@click.option("--end", type=_DAY, metavar="DAY", help="The last day, UTC; by default today.")
@click.option("--user", metavar="USER", help="Only usage of this user.")
@click.option("--mine", is_flag=True, help="Usage of the API key's own user, for which any key suffices.")
@limited
@of_tenant
@as_json
@click.pass_obj
def usage(
    stack: Stack,
    by: str,
    start: click.DateTime | None,
    end: click.DateTime | None,
    user: str | None,
    mine: bool,
    limit: int,
    tenant: str | None,
    json: bool,
) -> None:
    """Shows a tenant's usage and its cost. Requires a key with the scope operate, except with --mine."""
    days = {"start": _day(start), "end": _day(end), "by": by}
    if not mine:
        show(stack.list("/admin/usage", limit, **days, user=user, tenant=tenant), COLUMNS, json=json)
    elif user is None and tenant is None and by != "user":
        show(stack.list("/usage", limit, **days), COLUMNS, json=json)
    else:
        raise click.UsageError("--mine excludes --user, --tenant and --by user.")


def _day(given: object) -> str | None:
    return f"{given:%Y-%m-%d}" if given is not None else None
