"""`headrace tenants`."""

from __future__ import annotations

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, confirmed, limited
from serving.cli.output import show
from serving.cli.path import segment

COLUMNS = ("id", "name", "created_at", "disabled_at")


@click.group()
def tenants() -> None:
    """Creates and lists tenants, the teams that share the stack. Requires the stack's own key."""


@tenants.command("list", epilog="Example: headrace tenants list")
@limited
@as_json
@click.pass_obj
def list_(stack: Stack, limit: int, json: bool) -> None:
    """Lists the tenants, oldest first."""
    show(stack.list("/admin/tenants", limit, order="asc"), COLUMNS, json=json)


@tenants.command(epilog='Example: headrace tenants create acme --name "Acme Inc"')
@click.argument("id")
@click.option("--name", default="", help="Display name; by default the id.")
@as_json
@click.pass_obj
def create(stack: Stack, id: str, name: str, json: bool) -> None:
    """Creates the tenant ID: a letter a-z and up to 62 of a-z 0-9 -, which cannot be changed."""
    show(stack.post("/admin/tenants", {"id": id, "name": name}), COLUMNS, json=json)


@tenants.command(epilog="Example: headrace tenants get acme")
@click.argument("id")
@as_json
@click.pass_obj
def get(stack: Stack, id: str, json: bool) -> None:
    """Shows the tenant ID."""
    show(stack.get(f"/admin/tenants/{segment(id)}"), COLUMNS, json=json)


@tenants.command(epilog='Example: headrace tenants rename acme "Acme Corporation"')
@click.argument("id")
@click.argument("name")
@as_json
@click.pass_obj
def rename(stack: Stack, id: str, name: str, json: bool) -> None:
    """Changes the display NAME of the tenant ID; the id stays the same."""
    show(stack.post(f"/admin/tenants/{segment(id)}", {"name": name}), COLUMNS, json=json)


@tenants.command(epilog="Example: headrace tenants disable acme --yes")
@click.argument("id")
@confirmed("All keys of the tenant will stop working within ten seconds. Continue?")
@as_json
@click.pass_obj
def disable(stack: Stack, id: str, json: bool) -> None:
    """Disables the tenant ID: its keys are rejected, and its data is kept."""
    show(stack.post(f"/admin/tenants/{segment(id)}", {"disabled": True}), COLUMNS, json=json)


@tenants.command(epilog="Example: headrace tenants enable acme")
@click.argument("id")
@as_json
@click.pass_obj
def enable(stack: Stack, id: str, json: bool) -> None:
    """Enables the tenant ID again, with its keys."""
    show(stack.post(f"/admin/tenants/{segment(id)}", {"disabled": False}), COLUMNS, json=json)
