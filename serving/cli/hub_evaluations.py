"""`headrace hub suites` and `headrace hub evaluations`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from serving.cli.card import lines
from serving.cli.client import Stack
from serving.cli.options import as_json, limited
from serving.cli.output import show
from serving.cli.path import segment
from serving.cli.suite_file import read_suite

SUITE_COLUMNS = ("id", "name", "digest", "prompts", "created_at")
COLUMNS = ("id", "suite", "model", "against", "status", "done", "created_at", "error")

WATCH_S = 1.0


@click.group()
def suites() -> None:
    """Stores suites, by which models are compared."""


@suites.command(epilog="Example: headrace hub suites create capitals.yaml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@click.pass_obj
def create(stack: Stack, file: Path, json: bool) -> None:
    """Stores the suite in FILE, which is YAML or JSON; an equal one is stored once."""
    show(stack.post("/hub/suites", read_suite(file).model_dump(mode="json")), SUITE_COLUMNS, json=json)


@suites.command("list", epilog="Example: headrace hub suites list")
@limited
@as_json
@click.pass_obj
def list_suites(stack: Stack, limit: int, json: bool) -> None:
    """Lists the suites, newest first."""
    show(stack.list("/hub/suites", limit), SUITE_COLUMNS, json=json)


@suites.command("get", epilog="Example: headrace hub suites get SUITE_ID --json")
@click.argument("suite_id")
@as_json
@click.pass_obj
def get_suite(stack: Stack, suite_id: str, json: bool) -> None:
    """Shows the suite SUITE_ID; with --json also its prompts."""
    show(stack.get(f"/hub/suites/{segment(suite_id)}"), SUITE_COLUMNS, json=json)


@click.group()
def evaluations() -> None:
    """Scores models on stored suites, on the stack; `headrace evaluate` does the same from this host."""


@evaluations.command(epilog="Example: headrace hub evaluations start SUITE_ID large --against smollm2")
@click.argument("suite_id")
@click.argument("model")
@click.option("--against", metavar="NAME", help="The model, alias or assistant to compare with; needed for the gate.")
@click.option("--version", metavar="ID", help="The version of the model hub that the MODEL serves: it gets the card.")
@as_json
@click.pass_obj
def start(stack: Stack, suite_id: str, model: str, against: str | None, version: str | None, json: bool) -> None:
    """Scores the MODEL, an alias or an assistant on the suite SUITE_ID in the background."""
    body = {"suite": suite_id, "model": model, "against": against, "version": version}
    show(stack.post("/hub/evaluations", body), COLUMNS, json=json)


@evaluations.command("list", epilog="Example: headrace hub evaluations list")
@limited
@as_json
@click.pass_obj
def list_(stack: Stack, limit: int, json: bool) -> None:
    """Lists the evaluations, newest first."""
    show(stack.list("/hub/evaluations", limit), COLUMNS, json=json)


@evaluations.command(epilog="Example: headrace hub evaluations get EVALUATION_ID --wait")
@click.argument("evaluation_id")
@click.option("--wait", is_flag=True, help="Wait until it has ended.")
@as_json
@click.pass_obj
def get(stack: Stack, evaluation_id: str, wait: bool, json: bool) -> None:
    """Shows the evaluation EVALUATION_ID, with its card once it is completed."""
    path = f"/hub/evaluations/{segment(evaluation_id)}"
    while (found := stack.get(path))["ended_at"] is None and wait:
        time.sleep(WATCH_S)
    show(found, COLUMNS, json=json)
    if not json and found["card"] is not None:
        for line in lines(found["card"]):
            click.echo(line)


@evaluations.command(epilog="Example: headrace hub evaluations cancel EVALUATION_ID")
@click.argument("evaluation_id")
@as_json
@click.pass_obj
def cancel(stack: Stack, evaluation_id: str, json: bool) -> None:
    """Cancels the evaluation EVALUATION_ID."""
    show(stack.post(f"/hub/evaluations/{segment(evaluation_id)}/cancel", {}), COLUMNS, json=json)
