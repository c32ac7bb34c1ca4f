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
    """Makes and lists tenants, the teams that share the stack. Needs the stack's own key."""


@tenants.command("list", epilog="Example: headrace tenants list")
@limited
@as_json
@click.pass_obj
def list_(stack: Stack, limit: int, json: bool) -> None:
    """Lists the tenants, the oldest first."""
    show(stack.list("/admin/tenants", limit, order="asc"), COLUMNS, json=json)


@tenants.command(epilog='Example: headrace tenants create acme --name "Acme Inc"')
@click.argument("id")
@click.option("--name", default="", help="What people call it; the id by default.")
@as_json
@click.pass_obj
def create(stack: Stack, id: str, name: str, json: bool) -> None:
    """Makes the tenant ID: a letter a-z and up to 62 of a-z 0-9 -, for good."""
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
    """Gives the tenant ID another NAME for people; the id stays."""
    show(stack.post(f"/admin/tenants/{segment(id)}", {"name": name}), COLUMNS, json=json)


@tenants.command(epilog="Example: headrace tenants disable acme --yes")
@click.argument("id")
@confirmed("Every key of the tenant stops working within ten seconds. Go on?")
@as_json
@click.pass_obj
def disable(stack: Stack, id: str, json: bool) -> None:
    """Disables the tenant ID: its keys are good for nothing, and its data stays."""
    show(stack.post(f"/admin/tenants/{segment(id)}", {"disabled": True}), COLUMNS, json=json)


@tenants.command(epilog="Example: headrace tenants enable acme")
@click.argument("id")
@as_json
@click.pass_obj
def enable(stack: Stack, id: str, json: bool) -> None:
    """Enables the tenant ID again, with the keys that it had."""
    show(stack.post(f"/admin/tenants/{segment(id)}", {"disabled": False}), COLUMNS, json=json)
