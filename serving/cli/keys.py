"""`headrace keys`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from serving.cli.client import Stack
from serving.cli.options import Seconds, as_json, confirmed, limited, of_tenant
from serving.cli.output import show
from serving.cli.path import segment
from serving.core.principal import SCOPES

COLUMNS = ("id", "user", "name", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at", "rotated_to")
OWN_COLUMNS = (*COLUMNS[:4], "confirmed", *COLUMNS[4:])


@click.group()
def keys() -> None:
    """Creates, lists and revokes API keys of a tenant, which requires the scope admin, and keys of your own."""


@keys.command("list", epilog="Example: headrace keys list --user ada@example.com --tenant acme")
@click.option("--user", metavar="USER", help="Only keys of this user.")
@limited
@of_tenant
@as_json
@click.pass_obj
def list_(stack: Stack, user: str | None, limit: int, tenant: str | None, json: bool) -> None:
    """Lists the keys, newest first; the keys themselves are never shown again."""
    show(stack.list("/admin/keys", limit, user=user, tenant=tenant), COLUMNS, json=json)


@keys.command(
    epilog="Example: headrace keys create --user ada@example.com --scope inference --expires-in 90d > ada.key"
)
@click.option("--user", required=True, metavar="USER", help="The key's user.")
@click.option("--name", default="", help="A name for the key.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope for scope in SCOPES if scope != "platform"]),
    help="A scope of the key; repeatable. By default all that the user's role allows.",
)
@click.option(
    "--expires-in", type=Seconds(), metavar="TIME", help="When it expires, such as 12h or 90d. By default never."
)
@of_tenant
@as_json
@click.pass_obj
def create(
    stack: Stack,
    user: str,
    name: str,
    scopes: tuple[str, ...],
    expires_in: int | None,
    tenant: str | None,
    json: bool,
) -> None:
    """Creates a key and prints it this once: the stack does not store it."""
    body = {"user": user, "name": name, "scopes": list(scopes) or None, "expires_in_s": expires_in}
    _show_key(stack.post("/admin/keys", body, tenant=tenant), json=json)


@keys.command(epilog="Example: headrace keys get key_5f0c… --tenant acme")
@click.argument("id")
@of_tenant
@as_json
@click.pass_obj
def get(stack: Stack, id: str, tenant: str | None, json: bool) -> None:
    """Shows the metadata of the key ID."""
    show(stack.get(f"/admin/keys/{segment(id)}", tenant=tenant), COLUMNS, json=json)


@keys.command(epilog="Example: headrace keys rotate key_5f0c… --overlap 12h > new.key")
@click.argument("id")
@click.option(
    "--overlap",
    type=Seconds(),
    default="1h",
    show_default=True,
    metavar="TIME",
    help="How long the old key remains valid.",
)
@of_tenant
@as_json
@click.pass_obj
def rotate(stack: Stack, id: str, overlap: int, tenant: str | None, json: bool) -> None:
    """Creates a key that replaces the key ID, with the same permissions, and prints it this once."""
    _show_key(stack.post(f"/admin/keys/{segment(id)}/rotate", {"overlap_s": overlap}, tenant=tenant), json=json)


@keys.command(epilog="Example: headrace keys revoke key_5f0c… --yes")
@click.argument("id")
@confirmed("The key will stop working within ten seconds, for good. Continue?")
@of_tenant
@as_json
@click.pass_obj
def revoke(stack: Stack, id: str, tenant: str | None, json: bool) -> None:
    """Revokes the key ID for good."""
    show(stack.post(f"/admin/keys/{segment(id)}/revoke", {}, tenant=tenant), COLUMNS, json=json)


@keys.command(epilog="Example: headrace keys own")
@limited
@as_json
@click.pass_obj
def own(stack: Stack, limit: int, json: bool) -> None:
    """Lists the keys that act as you, whoever made them."""
    show(stack.list("/me/keys", limit), OWN_COLUMNS, json=json)


@keys.command(epilog="Example: headrace keys confirm key_5f0c… --yes")
@click.argument("id")
@confirmed("Whoever made the key can then read what you store. Continue?")
@as_json
@click.pass_obj
def confirm(stack: Stack, id: str, json: bool) -> None:
    """Lets the key ID, which somebody else made for you, act as you."""
    show(stack.post(f"/me/keys/{segment(id)}/confirm", {}), OWN_COLUMNS, json=json)


@keys.command(epilog="Example: headrace keys replace > own.key")
@click.argument("id", required=False)
@click.option(
    "--overlap",
    type=Seconds(),
    default="0s",
    show_default=True,
    metavar="TIME",
    help="How long the old key remains valid.",
)
@as_json
@click.pass_obj
def replace(stack: Stack, id: str | None, overlap: int, json: bool) -> None:
    """Replaces your key ID, by default the one in use, and prints the new one this once: nobody else knows it."""
    id = id if id is not None else str(stack.get("/me")["key_id"])
    _show_key(stack.post(f"/me/keys/{segment(id)}/rotate", {"overlap_s": overlap}), json=json)


def _show_key(made: Mapping[str, Any], *, json: bool) -> None:
    """Prints the key alone on stdout, for a file or a pipe, and its metadata on stderr."""
    if json:
        show(made, (), json=True)
        return
    click.echo(made["key"])
    click.echo(f"{made['id']} of {made['user']}, for {', '.join(made['scopes'])}: it is shown only once.", err=True)
    if not made["confirmed"]:
        click.echo(f"It permits nothing until {made['user']} runs: headrace --key-file FILE keys replace", err=True)
