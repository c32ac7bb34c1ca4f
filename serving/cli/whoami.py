"""`headrace whoami`."""

from __future__ import annotations

import click

from serving.cli.client import Stack
from serving.cli.options import as_json
from serving.cli.output import show


@click.command(epilog="Example: headrace whoami --json")
@as_json
@click.pass_obj
def whoami(stack: Stack, json: bool) -> None:
    """Shows the user and the scopes of the API key."""
    show(stack.get("/me"), ("tenant", "id", "role", "groups", "scopes", "key_id"), json=json)
