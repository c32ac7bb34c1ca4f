"""`headrace forget`."""

from __future__ import annotations

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, limited, of_tenant
from serving.cli.output import show
from serving.cli.path import segment

COLUMNS = ("id", "status", "step", "dry_run", "created_at", "finished_at", "error")


@click.group()
def forget() -> None:
    """Erases all data of a user. Requires a key with the scope admin."""


@forget.command(epilog="Example: headrace forget user ada@example.com --dry-run")
@click.argument("user")
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@of_tenant
@as_json
@click.pass_obj
def user(stack: Stack, user: str, dry_run: bool, yes: bool, tenant: str | None, json: bool) -> None:
    """Starts the erasure of USER: conversations, answers, ratings, memories, files and keys. This cannot be undone."""
    if not dry_run and not yes:
        click.confirm("All data of the user will be deleted for good. Continue?", abort=True)
    show(stack.post("/admin/erasures", {"user": user, "dry_run": dry_run}, tenant=tenant), COLUMNS, json=json)


@forget.command(epilog="Example: headrace forget status job_5f0c… --json")
@click.argument("id")
@of_tenant
@as_json
@click.pass_obj
def status(stack: Stack, id: str, tenant: str | None, json: bool) -> None:
    """Shows the progress of the erasure ID."""
    show(stack.get(f"/admin/erasures/{segment(id)}", tenant=tenant), COLUMNS, json=json)


@forget.command("list", epilog="Example: headrace forget list --tenant acme")
@limited
@of_tenant
@as_json
@click.pass_obj
def list_(stack: Stack, limit: int, tenant: str | None, json: bool) -> None:
    """Lists recent erasures, newest first."""
    show(stack.list("/admin/erasures", limit, tenant=tenant), COLUMNS, json=json)
