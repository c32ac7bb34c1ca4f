"""`headrace prompts`."""

from __future__ import annotations

from pathlib import Path

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, confirmed, limited
from serving.cli.output import show
from serving.cli.path import segment
from serving.store.prompts.records import MAX_TEXT

COLUMNS = ("id", "name", "version", "labels", "description", "updated_at")
VERSIONS = ("version", "variables", "sha256", "created_at")
LABEL = ("label", "version")

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.group()
def prompts() -> None:
    """Stores prompts with versions, and moves labels between these."""


@prompts.command("list", epilog="Example: headrace prompts list")
@limited
@as_json
@click.pass_obj
def list_(stack: Stack, limit: int, json: bool) -> None:
    """Lists the tenant's prompts, newest first."""
    show(stack.list("/prompts", limit), COLUMNS, json=json)


@prompts.command("show", epilog="Example: headrace prompts show PROMPT")
@click.argument("prompt")
@click.option("--version", metavar="VERSION", help="Print the text of this version instead: a number or a label.")
@as_json
@click.pass_obj
def show_(stack: Stack, prompt: str, version: str | None, json: bool) -> None:
    """Shows PROMPT, an id, with its labels."""
    if version is None:
        show(stack.get(f"/prompts/{segment(prompt)}"), COLUMNS, json=json)
        return
    found = stack.get(f"/prompts/{segment(prompt)}/versions/{segment(version)}")
    if json:
        show(found, (), json=True)
    else:
        click.echo(_printable(str(found.get("text", ""))))


@prompts.command(epilog="Example: headrace prompts versions PROMPT")
@click.argument("prompt")
@limited
@as_json
@click.pass_obj
def versions(stack: Stack, prompt: str, limit: int, json: bool) -> None:
    """Lists the versions of PROMPT, newest first."""
    show(stack.list(f"/prompts/{segment(prompt)}/versions", limit), VERSIONS, json=json)


@prompts.command(epilog="Example: headrace prompts create greeting greeting.txt --description 'For the hall'")
@click.argument("name")
@click.argument("file", type=_FILE)
@click.option("--description", default="", help="What it is for.")
@as_json
@click.pass_obj
def create(stack: Stack, name: str, file: Path, description: str, json: bool) -> None:
    """Creates the prompt NAME with the text of FILE (- for standard input) as its first version."""
    body = {"name": name, "text": _text(file), "description": description}
    show(stack.post("/prompts", body), COLUMNS, json=json)


@prompts.command(epilog="Example: headrace prompts add PROMPT greeting.txt")
@click.argument("prompt")
@click.argument("file", type=_FILE)
@as_json
@click.pass_obj
def add(stack: Stack, prompt: str, file: Path, json: bool) -> None:
    """Adds the text of FILE (- for standard input) as the next version of PROMPT; labels stay where they are."""
    show(stack.post(f"/prompts/{segment(prompt)}/versions", {"text": _text(file)}), VERSIONS, json=json)


@prompts.command(epilog="Example: headrace prompts label PROMPT production 4 --expected 3")
@click.argument("prompt")
@click.argument("label")
@click.argument("version", type=click.IntRange(1))
@click.option(
    "--expected", type=click.IntRange(0), help="Only if the label points to this version now; 0: if there is none."
)
@as_json
@click.pass_obj
def label(stack: Stack, prompt: str, label: str, version: int, expected: int | None, json: bool) -> None:
    """Points LABEL of PROMPT to VERSION, a number. Requests that name the label use it from then on."""
    body = {"version": version, "expected_version": expected}
    show(stack.put(f"/prompts/{segment(prompt)}/labels/{segment(label)}", body), LABEL, json=json)


@prompts.command(epilog="Example: headrace prompts unlabel PROMPT staging --yes")
@click.argument("prompt")
@click.argument("label")
@confirmed("Requests that name it will fail; without production, those that name none use the newest. Continue?")
@as_json
@click.pass_obj
def unlabel(stack: Stack, prompt: str, label: str, json: bool) -> None:
    """Deletes LABEL of PROMPT; versions stay. Without `production`, requests that name no version use the newest."""
    show(stack.delete(f"/prompts/{segment(prompt)}/labels/{segment(label)}"), ("label", "deleted"), json=json)


@prompts.command(epilog="Example: headrace prompts render PROMPT --version staging --variable name=Ada")
@click.argument("prompt")
@click.option("--version", metavar="VERSION", help="A number or a label; by default as for requests.")
@click.option("--variable", "variables", multiple=True, metavar="NAME=VALUE", help="The value of a variable.")
@as_json
@click.pass_obj
def render(stack: Stack, prompt: str, version: str | None, variables: tuple[str, ...], json: bool) -> None:
    """Prints the text of PROMPT with values of its variables, as a model would read it."""
    values = {}
    for given in variables:
        name, sign, value = given.partition("=")
        if not sign:
            raise click.BadParameter("must be NAME=VALUE", param_hint="--variable")
        values[name] = value
    found = stack.post(f"/prompts/{segment(prompt)}/render", {"version": version, "variables": values})
    if json:
        show(found, (), json=True)
    else:
        click.echo(_printable(str(found.get("text", ""))))


@prompts.command(epilog="Example: headrace prompts delete PROMPT --yes")
@click.argument("prompt")
@confirmed("The prompt and its versions will be deleted. Continue?")
@as_json
@click.pass_obj
def delete(stack: Stack, prompt: str, json: bool) -> None:
    """Deletes PROMPT with its versions; refused while an assistant names it."""
    show(stack.delete(f"/prompts/{segment(prompt)}"), ("id", "deleted"), json=json)


def _text(file: Path) -> str:
    """Returns the text of a file. Raises a `BadParameter`."""
    try:
        with click.open_file(str(file), encoding="utf-8") as content:
            text: str = content.read(MAX_TEXT + 1)
            return text
    except (OSError, UnicodeDecodeError):
        raise click.BadParameter(f"{file} cannot be read as text in UTF-8.") from None


def _printable(text: str) -> str:
    """Returns a text without characters that would control a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
