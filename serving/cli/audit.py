"""`headrace audit`."""

from __future__ import annotations

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, limited, of_tenant
from serving.cli.output import show

COLUMNS = ("id", "created_at", "action", "outcome", "actor", "target")


@click.group()
def audit() -> None:
    """Reads and verifies the audit log. Requires a key with the scope operate."""


@audit.command("list", epilog="Example: headrace audit list --action key.create --tenant acme")
@click.option("--user", metavar="USER", help="Only actions of this user.")
@click.option("--action", metavar="ACTION", help="Only this action, such as key.create.")
@limited
@of_tenant
@as_json
@click.pass_obj
def list_(stack: Stack, user: str | None, action: str | None, limit: int, tenant: str | None, json: bool) -> None:
    """Lists events, newest first."""
    show(stack.list("/admin/audit", limit, user=user, action=action, tenant=tenant), COLUMNS, json=json)


@audit.command(epilog="Example: headrace audit verify --tenant acme")
@of_tenant
@as_json
@click.pass_obj
def verify(stack: Stack, tenant: str | None, json: bool) -> None:
    """Verifies that the audit log was not changed; the exit status is 1 if it was."""
    found = stack.get("/admin/audit/verify", tenant=tenant)
    show(found, ("valid", "events", "unchecked", "problems"), json=json)
    if found.get("unchecked") and not found.get("problems"):
        raise click.ClickException("Events of keys that the gateway does not have cannot be checked.")
    if not found.get("valid"):
        raise click.ClickException("The audit log was changed.")
