"""`headrace audit`."""

from __future__ import annotations

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, limited, of_tenant
from serving.cli.output import show

COLUMNS = ("id", "created_at", "action", "outcome", "actor", "target")


@click.group()
def audit() -> None:
    """Reads the record of what was done to the stack, and checks it. Needs a key with the scope operate."""


@audit.command("list", epilog="Example: headrace audit list --action key.create --tenant acme")
@click.option("--user", metavar="USER", help="Only what this user did.")
@click.option("--action", metavar="ACTION", help="Only this action, as key.create.")
@limited
@of_tenant
@as_json
@click.pass_obj
def list_(stack: Stack, user: str | None, action: str | None, limit: int, tenant: str | None, json: bool) -> None:
    """Lists what was done, the newest first."""
    show(stack.list("/admin/audit", limit, user=user, action=action, tenant=tenant), COLUMNS, json=json)


@audit.command(epilog="Example: headrace audit verify --tenant acme")
@of_tenant
@as_json
@click.pass_obj
def verify(stack: Stack, tenant: str | None, json: bool) -> None:
    """Says whether the record is as it was written; the exit status is 1 when it is not."""
    found = stack.get("/admin/audit/verify", tenant=tenant)
    show(found, ("valid", "events", "unchecked", "problems"), json=json)
    if found.get("unchecked") and not found.get("problems"):
        raise click.ClickException("Events of keys that the gateway does not have cannot be checked.")
    if not found.get("valid"):
        raise click.ClickException("The audit log was changed.")
