"""`headrace users`."""

from __future__ import annotations

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, confirmed, limited, of_tenant
from serving.cli.output import show
from serving.cli.path import segment
from serving.core.principal import ROLES

COLUMNS = ("id", "role", "groups", "created_at", "disabled_at")

_ROLE = click.Choice(ROLES)


@click.group()
def users() -> None:
    """Makes and changes the users of a tenant: people and programs. Needs a key with the scope admin."""


@users.command("list", epilog="Example: headrace users list --tenant acme")
@limited
@of_tenant
@as_json
@click.pass_obj
def list_(stack: Stack, limit: int, tenant: str | None, json: bool) -> None:
    """Lists the users, the oldest first."""
    show(stack.list("/admin/users", limit, order="asc", tenant=tenant), COLUMNS, json=json)


@users.command(epilog="Example: headrace users create ada@example.com --role operator --group research --tenant acme")
@click.argument("id")
@click.option("--role", type=_ROLE, default="user", show_default=True, help="What the user may do in the tenant.")
@click.option("--group", "groups", multiple=True, help="A group, for access to documents; may be given again.")
@of_tenant
@as_json
@click.pass_obj
def create(stack: Stack, id: str, role: str, groups: tuple[str, ...], tenant: str | None, json: bool) -> None:
    """Makes the user ID, such as a mail address. A key is made by `headrace keys create`."""
    body = {"id": id, "role": role, "groups": list(groups)}
    show(stack.post("/admin/users", body, tenant=tenant), COLUMNS, json=json)


@users.command(epilog="Example: headrace users get ada@example.com --tenant acme")
@click.argument("id")
@of_tenant
@as_json
@click.pass_obj
def get(stack: Stack, id: str, tenant: str | None, json: bool) -> None:
    """Shows the user ID."""
    show(stack.get(f"/admin/users/{segment(id)}", tenant=tenant), COLUMNS, json=json)


@users.command(epilog="Example: headrace users update ada@example.com --role admin --group board")
@click.argument("id")
@click.option("--role", type=_ROLE, help="What the user may do in the tenant from now on.")
@click.option("--group", "groups", multiple=True, help="A group instead of those before; may be given again.")
@click.option("--no-groups", is_flag=True, help="No group any more.")
@of_tenant
@as_json
@click.pass_obj
def update(
    stack: Stack, id: str, role: str | None, groups: tuple[str, ...], no_groups: bool, tenant: str | None, json: bool
) -> None:
    """Changes the role or the groups of the user ID, for keys that are in use too."""
    if groups and no_groups:
        raise click.UsageError("--group and --no-groups exclude each other.")
    if role is None and not groups and not no_groups:
        raise click.UsageError("Nothing to change: give --role, --group or --no-groups.")
    body = {"role": role, "groups": list(groups) if groups or no_groups else None}
    show(stack.post(f"/admin/users/{segment(id)}", body, tenant=tenant), COLUMNS, json=json)


@users.command(epilog="Example: headrace users disable ada@example.com --yes")
@click.argument("id")
@confirmed("Every key of the user stops working within ten seconds. Go on?")
@of_tenant
@as_json
@click.pass_obj
def disable(stack: Stack, id: str, tenant: str | None, json: bool) -> None:
    """Disables the user ID: their keys are good for nothing, and their data stays."""
    show(stack.post(f"/admin/users/{segment(id)}", {"disabled": True}, tenant=tenant), COLUMNS, json=json)


@users.command(epilog="Example: headrace users enable ada@example.com")
@click.argument("id")
@of_tenant
@as_json
@click.pass_obj
def enable(stack: Stack, id: str, tenant: str | None, json: bool) -> None:
    """Enables the user ID again, with the keys that they had."""
    show(stack.post(f"/admin/users/{segment(id)}", {"disabled": False}, tenant=tenant), COLUMNS, json=json)
