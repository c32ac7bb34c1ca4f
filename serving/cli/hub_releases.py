"""`headrace hub releases`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, limited
from serving.cli.output import show
from serving.cli.path import segment

COLUMNS = ("id", "alias", "target", "base", "share", "status", "reason", "harm", "no_worse", "created_at")

WATCH_S = 1.0

_overridden = click.option(
    "--gate-override", metavar="REASON", help="Why a version of the hub is released without a passed gate."
)


@click.group()
def releases() -> None:
    """Gives a model a share of a managed alias's requests, until it is promoted or rolled back."""


@releases.command(epilog="Example: headrace hub releases create chat --version VERSION_ID --evaluation ID")
@click.argument("alias")
@click.argument("target", required=False)
@click.option("--version", metavar="ID", help="In place of a TARGET: a version of the hub, which becomes live.")
@click.option("--share", type=click.FloatRange(0, 0.5, min_open=True), help="Share of the requests, such as 0.05.")
@click.option("--evaluation", metavar="ID", help="An evaluation of the TARGET or version that passed the gate.")
@_overridden
@as_json
@click.pass_obj
def create(
    stack: Stack,
    alias: str,
    target: str | None,
    version: str | None,
    share: float | None,
    evaluation: str | None,
    gate_override: str | None,
    json: bool,
) -> None:
    """Sends a share of the requests for the ALIAS to the model TARGET."""
    if (target is None) == (version is None):
        raise click.UsageError("either TARGET or --version is required")
    body = {"alias": alias, "target": target, "version": version, "share": share, "evaluation": evaluation}
    _show(stack.post("/hub/releases", body | _override(gate_override)), json)


@releases.command("list", epilog="Example: headrace hub releases list --alias chat")
@click.option("--alias", metavar="NAME", help="Only releases for this alias.")
@limited
@as_json
@click.pass_obj
def list_(stack: Stack, alias: str | None, limit: int, json: bool) -> None:
    """Lists the releases, newest first."""
    _show(stack.list("/hub/releases", limit, alias=alias), json)


@releases.command(epilog="Example: headrace hub releases get RELEASE_ID --json")
@click.argument("release_id")
@as_json
@click.pass_obj
def get(stack: Stack, release_id: str, json: bool) -> None:
    """Shows the release RELEASE_ID; with --json also the counted outcomes."""
    _show(stack.get(f"/hub/releases/{segment(release_id)}"), json)


@releases.command(epilog="Example: headrace hub releases watch RELEASE_ID")
@click.argument("release_id")
@as_json
@click.pass_obj
def watch(stack: Stack, release_id: str, json: bool) -> None:
    """Waits until the release RELEASE_ID is promoted or rolled back."""
    while (found := stack.get(f"/hub/releases/{segment(release_id)}"))["ended_at"] is None:
        time.sleep(WATCH_S)
    _show(found, json)


@releases.command(epilog="Example: headrace hub releases promote RELEASE_ID")
@click.argument("release_id")
@_overridden
@as_json
@click.pass_obj
def promote(stack: Stack, release_id: str, gate_override: str | None, json: bool) -> None:
    """Sends all requests to the target of the release RELEASE_ID."""
    _change(stack, release_id, "promote", json, _override(gate_override))


@releases.command(epilog="Example: headrace hub releases pause RELEASE_ID")
@click.argument("release_id")
@as_json
@click.pass_obj
def pause(stack: Stack, release_id: str, json: bool) -> None:
    """Sends no requests to the target of the release RELEASE_ID for now."""
    _change(stack, release_id, "pause", json)


@releases.command(epilog="Example: headrace hub releases resume RELEASE_ID")
@click.argument("release_id")
@as_json
@click.pass_obj
def resume(stack: Stack, release_id: str, json: bool) -> None:
    """Sends the target of a paused release RELEASE_ID its share again."""
    _change(stack, release_id, "resume", json)


@releases.command(epilog="Example: headrace hub releases rollback RELEASE_ID")
@click.argument("release_id")
@as_json
@click.pass_obj
def rollback(stack: Stack, release_id: str, json: bool) -> None:
    """Sends all requests to the base of the release RELEASE_ID again, also after its promotion."""
    _change(stack, release_id, "rollback", json)


def _override(reason: str | None) -> dict[str, Any]:
    return {"gate_override": {"reason": reason}} if reason is not None else {}


def _change(
    stack: Stack, release_id: str, change: str, json: bool, more: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Changes the release as it is now: if somebody else changes it at the same time, one of the two fails."""
    path = f"/hub/releases/{segment(release_id)}"
    _show(stack.post(f"{path}/{change}", {"revision": stack.get(path)["revision"], **more}), json)


def _show(answer: dict[str, Any], json: bool) -> None:
    if not json:
        rows: list[dict[str, Any]] = answer["data"] if answer.get("object") == "list" else [answer]
        for row in rows:
            row.update(row.get("evidence", {}))
    show(answer, COLUMNS, json=json)
