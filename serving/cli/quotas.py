"""`headrace quotas`."""

from __future__ import annotations

from typing import get_args

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, confirmed, limited, of_tenant
from serving.cli.output import show
from serving.config import Measure, Subject, Window

COLUMNS = ("quota_id", "subject", "id", "window", "measure", "limit", "currency", "set_by", "used", "resets_at")

_SUBJECT = click.Choice(get_args(Subject))


@click.group()
def quotas() -> None:
    """Sets limits for a tenant, its users, its keys and its models. Requires a key with the scope admin."""


@quotas.command("list", epilog="Example: headrace quotas list --subject user --tenant acme")
@click.option("--subject", type=_SUBJECT, help="Only quotas of this kind of subject.")
@click.option("--id", metavar="ID", help="Only quotas of the subject with this id.")
@limited
@of_tenant
@as_json
@click.pass_obj
def list_(stack: Stack, subject: str | None, id: str | None, limit: int, tenant: str | None, json: bool) -> None:
    """Lists the quotas that were set, with their usage."""
    show(stack.list("/admin/quotas", limit, subject=subject, id=id, tenant=tenant), COLUMNS, json=json)


@quotas.command("set", epilog="Example: headrace quotas set user ada@example.com month money 25.50 --currency EUR")
@click.argument("subject", type=_SUBJECT)
@click.argument("id")
@click.argument("window", type=click.Choice(get_args(Window)))
@click.argument("measure", type=click.Choice(get_args(Measure)))
@click.argument("limit")
@click.option("--currency", metavar="CODE", help="Currency of money, such as USD.")
@click.option(
    "--set-by",
    type=click.Choice(("platform", "tenant")),
    help="Who sets the limit; by default the platform if the key has that scope.",
)
@of_tenant
@as_json
@click.pass_obj
def set_(
    stack: Stack,
    subject: str,
    id: str,
    window: str,
    measure: str,
    limit: str,
    currency: str | None,
    set_by: str | None,
    tenant: str | None,
    json: bool,
) -> None:
    """Lets the SUBJECT with this ID use at most LIMIT of a MEASURE in each WINDOW, or this many concurrent streams."""
    quota = {"subject": subject, "id": id, "window": window, "measure": measure, "limit": limit, "currency": currency}
    quota |= {"set_by": set_by} if set_by is not None else {}
    show(stack.put("/admin/quotas", {"quotas": [quota]}, tenant=tenant), COLUMNS, json=json)


@quotas.command(epilog="Example: headrace quotas delete QUOTA_ID --yes")
@click.argument("quota_id")
@confirmed("The limit will be removed. Continue?")
@of_tenant
@as_json
@click.pass_obj
def delete(stack: Stack, quota_id: str, tenant: str | None, json: bool) -> None:
    """Removes the quota QUOTA_ID; the configuration's default applies again, if there is one."""
    show(stack.delete("/admin/quotas", quota_id=quota_id, tenant=tenant), ("id", "deleted"), json=json)
