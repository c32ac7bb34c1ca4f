"""`headrace hub versions`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from serving.cli.card import version_lines
from serving.cli.client import Stack
from serving.cli.options import as_json, confirmed, limited
from serving.cli.output import show
from serving.cli.path import segment
from serving.hub.names import CONFIG, WEIGHTS, Kind, VersionStatus

COLUMNS = ("id", "name", "number", "kind", "status", "base", "method", "rank", "bytes", "created_at")
RELATIVES = ("relation", *COLUMNS)
CONSENTS = ("tenant", "scope", "created_at", "created_by", "revoked_at")
SERVED = ("model", "base", "live", "replicas", "loaded", "leaving", "failures")


@click.group()
def versions() -> None:
    """Registers, lists and retires versions of models and adapters."""


@versions.command("list", epilog="Example: headrace hub versions list --name docs --status ready")
@click.option("--name", metavar="NAME", help="Only versions of this name.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only versions of this kind.")
@click.option("--status", type=click.Choice(get_args(VersionStatus)), help="Only versions with this status.")
@limited
@as_json
@click.pass_obj
def list_(stack: Stack, name: str | None, kind: str | None, status: str | None, limit: int, json: bool) -> None:
    """Lists versions, newest first."""
    show(stack.list("/hub/versions", limit, name=name, kind=kind, status=status), COLUMNS, json=json)


@versions.command(epilog="Example: headrace hub versions get VERSION --json")
@click.argument("version")
@as_json
@click.pass_obj
def get(stack: Stack, version: str, json: bool) -> None:
    """Shows a version; with --json also its recipe, card and artefacts."""
    show(stack.get(f"/hub/versions/{segment(version)}"), COLUMNS, json=json)


@versions.command(epilog="Example: headrace hub versions card VERSION")
@click.argument("version")
@as_json
@click.pass_obj
def card(stack: Stack, version: str, json: bool) -> None:
    """Shows the card of a version: its last evaluation, who rated its rows, and releases without the gate."""
    found = stack.get(f"/hub/versions/{segment(version)}")["card"] or {}
    if json:
        show(found, (), json=True)
        return
    for line in version_lines(found):
        click.echo(line)


@versions.command(epilog="Example: headrace hub versions register docs ./adapter --base smollm2")
@click.argument("name")
@click.argument("adapter", type=click.Path(exists=True, path_type=Path))
@click.option("--base", required=True, metavar="MODEL", help="The model that it adapts.")
@click.option("--base-digest", metavar="SHA256", help="Digest of the weights that it was trained for.")
@click.option("--provenance", metavar="JSON", help="An object that says where it comes from.")
@as_json
@click.pass_obj
def register(
    stack: Stack,
    name: str,
    adapter: Path,
    base: str,
    base_digest: str | None,
    provenance: str | None,
    json: bool,
) -> None:
    """Registers ADAPTER as the next version of NAME: a folder that PEFT wrote, or a GGUF file."""
    files = {"weights": adapter}
    if adapter.is_dir():
        files = {"weights": adapter / WEIGHTS, "config": adapter / CONFIG}
        if missing := [file.name for file in files.values() if not file.is_file()]:
            raise click.BadParameter(f"{adapter} has no {missing[0]}: it is not an adapter of PEFT.")
    fields = {"name": name, "base": base, "base_digest": base_digest, "provenance": provenance}
    show(stack.upload("/hub/versions", fields, files), COLUMNS, json=json)


@versions.command(epilog="Example: headrace hub versions lineage VERSION")
@click.argument("version")
@as_json
@click.pass_obj
def lineage(stack: Stack, version: str, json: bool) -> None:
    """Shows what a version was made from, and what was made from it."""
    found = stack.get(f"/hub/versions/{segment(version)}/lineage")
    if json:
        show(found, (), json=True)
        return
    rows: list[dict[str, Any]] = [
        *({"relation": "ancestor", **each} for each in found["ancestors"]),
        {"relation": "itself", **found["version"]},
        *({"relation": "descendant", **each} for each in found["descendants"]),
        *({"relation": "data set", **each} for each in found["datasets"]),
    ]
    show({"object": "list", "data": rows}, RELATIVES, json=False)


@versions.command(epilog="Example: headrace hub versions download VERSION adapter.gguf --out adapter.gguf")
@click.argument("version")
@click.argument("artefact")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.pass_obj
def download(stack: Stack, version: str, artefact: str, out: Path) -> None:
    """Downloads an artefact of a version."""
    stack.download(f"/hub/versions/{segment(version)}/artefacts/{segment(artefact)}/content", out)


@versions.command(epilog="Example: headrace hub versions retire VERSION --reason 'replaced by number 4' --yes")
@click.argument("version")
@click.option("--reason", default="", help="Why, for those who look at it later.")
@click.option("--delete-artefacts", is_flag=True, help="Delete its files too; its record stays.")
@confirmed("Retire it? It will no longer be served.")
@as_json
@click.pass_obj
def retire(stack: Stack, version: str, reason: str, delete_artefacts: bool, json: bool) -> None:
    """Retires a version."""
    body = {"reason": reason, "delete_artefacts": delete_artefacts}
    show(stack.post(f"/hub/versions/{segment(version)}/retire", body), COLUMNS, json=json)


@versions.command(epilog="Example: headrace hub versions live VERSION")
@click.argument("version")
@as_json
@click.pass_obj
def live(stack: Stack, version: str, json: bool) -> None:
    """Shows the model name of an adapter, and how many replicas serve it."""
    show(stack.get(f"/hub/versions/{segment(version)}/live"), SERVED, json=json)


@versions.command(epilog="Example: headrace hub versions serve VERSION")
@click.argument("version")
@as_json
@click.pass_obj
def serve(stack: Stack, version: str, json: bool) -> None:
    """Has all replicas of an adapter's base serve it, under its model name."""
    show(stack.post(f"/hub/versions/{segment(version)}/serve", {}), SERVED, json=json)


@versions.command(epilog="Example: headrace hub versions withdraw VERSION --yes")
@click.argument("version")
@confirmed("Withdraw it? Requests for it will then get a 404.")
@as_json
@click.pass_obj
def withdraw(stack: Stack, version: str, json: bool) -> None:
    """Ends serving an adapter; requests in progress are answered."""
    show(stack.post(f"/hub/versions/{segment(version)}/withdraw", {}), SERVED, json=json)


@versions.command(epilog="Example: headrace hub versions consents VERSION")
@click.argument("version")
@as_json
@click.pass_obj
def consents(stack: Stack, version: str, json: bool) -> None:
    """Lists which other tenants may use a version, or could until that was revoked."""
    show(stack.get(f"/hub/versions/{segment(version)}/consents"), CONSENTS, json=json)


@versions.command(epilog="Example: headrace hub versions consent VERSION globex --scope release")
@click.argument("version")
@click.argument("tenant")
@click.option("--scope", type=click.Choice(["call", "release"]), default="call", help="What the tenant may do with it.")
@as_json
@click.pass_obj
def consent(stack: Stack, version: str, tenant: str, scope: str, json: bool) -> None:
    """Lets another TENANT use a version that was trained on your tenant's data."""
    body = {"tenant": tenant, "scope": scope}
    show(stack.post(f"/hub/versions/{segment(version)}/consents", body), CONSENTS, json=json)


@versions.command(epilog="Example: headrace hub versions revoke VERSION globex")
@click.argument("version")
@click.argument("tenant")
@as_json
@click.pass_obj
def revoke(stack: Stack, version: str, tenant: str, json: bool) -> None:
    """Ends the consent for a TENANT: it finds no such model any more."""
    body = {"tenant": tenant}
    show(stack.post(f"/hub/versions/{segment(version)}/consents/revoke", body), CONSENTS, json=json)
