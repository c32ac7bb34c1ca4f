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
    """Creates and changes the users of a tenant: people and programs. Requires a key with the scope admin."""


@users.command("list", epilog="Example: headrace users list --tenant acme")
@limited
@of_tenant
@as_json
@click.pass_obj
def list_(stack: Stack, limit: int, tenant: str | None, json: bool) -> None:
    """Lists the users, oldest first."""
    show(stack.list("/admin/users", limit, order="asc", tenant=tenant), COLUMNS, json=json)


@users.command(epilog="Example: headrace users create ada@example.com --role operator --group research --tenant acme")
@click.argument("id")
@click.option("--role", type=_ROLE, default="user", show_default=True, help="The user's role in the tenant.")
@click.option("--group", "groups", multiple=True, help="A group, for access to documents; repeatable.")
@of_tenant
@as_json
@click.pass_obj
def create(stack: Stack, id: str, role: str, groups: tuple[str, ...], tenant: str | None, json: bool) -> None:
    """Creates the user ID, such as a mail address. Keys are created by `headrace keys create`."""
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
@click.option("--role", type=_ROLE, help="The user's new role in the tenant.")
@click.option("--group", "groups", multiple=True, help="A group that replaces the current ones; repeatable.")
@click.option("--no-groups", is_flag=True, help="Remove the user from all groups.")
@of_tenant
@as_json
@click.pass_obj
def update(
    stack: Stack, id: str, role: str | None, groups: tuple[str, ...], no_groups: bool, tenant: str | None, json: bool
) -> None:
    """Changes the role or the groups of the user ID, also for existing keys."""
    if groups and no_groups:
        raise click.UsageError("--group and --no-groups cannot be combined.")
    if role is None and not groups and not no_groups:
        raise click.UsageError("Nothing to change: give --role, --group or --no-groups.")
    body = {"role": role, "groups": list(groups) if groups or no_groups else None}
    show(stack.post(f"/admin/users/{segment(id)}", body, tenant=tenant), COLUMNS, json=json)


@users.command(epilog="Example: headrace users disable ada@example.com --yes")
@click.argument("id")
@confirmed("All keys of the user will stop working within ten seconds. Continue?")
@of_tenant
@as_json
@click.pass_obj
def disable(stack: Stack, id: str, tenant: str | None, json: bool) -> None:
    """Disables the user ID: the user's keys are rejected, and the user's data is kept."""
    show(stack.post(f"/admin/users/{segment(id)}", {"disabled": True}, tenant=tenant), COLUMNS, json=json)


@users.command(epilog="Example: headrace users enable ada@example.com")
@click.argument("id")
@of_tenant
@as_json
@click.pass_obj
def enable(stack: Stack, id: str, tenant: str | None, json: bool) -> None:
    """Enables the user ID again, with the user's keys."""
    show(stack.post(f"/admin/users/{segment(id)}", {"disabled": False}, tenant=tenant), COLUMNS, json=json)
