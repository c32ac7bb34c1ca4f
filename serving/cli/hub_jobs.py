"""`headrace hub jobs` and `headrace hub datasets`."""

from __future__ import annotations

import time
from typing import Any, get_args

import click

from serving.cli.client import Stack
from serving.cli.options import as_json, confirmed, limited
from serving.cli.output import show
from serving.protocol.tuning import Method, RowFormat

COLUMNS = ("id", "method", "name", "base", "status", "stage", "step", "steps", "version", "created_at")
EVENTS = ("seconds", "event", "stage", "step", "of", "loss", "retain_loss", "learning_rate", "message")
DATASET_COLUMNS = ("id", "format", "status", "counts", "digest", "created_at")
POLL_S = 2.0


@click.group()
def jobs() -> None:
    """Tunes models: each job makes a version. Requires a key with the scope hub:write, or hub:read to look."""


@jobs.command("list", epilog="Example: headrace hub jobs list")
@limited
@as_json
@click.pass_obj
def list_(stack: Stack, limit: int, json: bool) -> None:
    """Lists jobs, newest first."""
    show(stack.list("/hub/jobs", limit), COLUMNS, json=json)


@jobs.command(epilog="Example: headrace hub jobs create sft atlas --base smollm2 --dataset DATASET --set steps=20")
@click.argument("method", type=click.Choice(get_args(Method)))
@click.argument("name")
@click.option("--base", required=True, metavar="MODEL", help="The model to begin with.")
@click.option("--version", metavar="VERSION", help="A version of the base that has a model of its own.")
@click.option("--dataset", metavar="DATASET", help="The data set to learn from.")
@click.option("--retain", metavar="DATASET", help="A data set whose answers must stay as the base gives them.")
@click.option("--teacher", metavar="MODEL", help="For distil: the model to follow.")
@click.option("--without-rater", metavar="RATER", help="A rater on a card, whose rows are left out.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="A field of the recipe; repeatable.")
@as_json
@click.pass_obj
def create(
    stack: Stack,
    method: str,
    name: str,
    base: str,
    version: str | None,
    dataset: str | None,
    retain: str | None,
    teacher: str | None,
    without_rater: str | None,
    settings: tuple[str, ...],
    json: bool,
) -> None:
    """Queues a job that makes the next version of NAME by METHOD."""
    body = {
        "method": method,
        "name": name,
        "base": base,
        "version": version,
        "dataset": dataset,
        "retain": retain,
        "teacher": teacher,
        "without_rater": without_rater,
        "recipe": dict(map(_setting, settings)) or None,
    }
    show(stack.post("/hub/jobs", body), COLUMNS, json=json)


@jobs.command("show", epilog="Example: headrace hub jobs show JOB --wait")
@click.argument("job")
@click.option("--wait", is_flag=True, help="Return when the job has ended; a failed one ends with the status 1.")
@as_json
@click.pass_context
def show_(context: click.Context, job: str, wait: bool, json: bool) -> None:
    """Shows a job."""
    stack: Stack = context.obj
    found = stack.get(f"/hub/jobs/{job}")
    while wait and found["status"] in ("queued", "running"):
        time.sleep(POLL_S)
        found = stack.get(f"/hub/jobs/{job}")
    show(found, COLUMNS, json=json)
    if found["status"] == "failed":
        raise click.ClickException(str(found["error"]["message"]))


@jobs.command(epilog="Example: headrace hub jobs events JOB")
@click.argument("job")
@as_json
@click.pass_obj
def events(stack: Stack, job: str, json: bool) -> None:
    """Shows the events of a job, such as the loss of each step."""
    show(stack.get(f"/hub/jobs/{job}/events"), EVENTS, json=json)


@jobs.command(epilog="Example: headrace hub jobs cancel JOB")
@click.argument("job")
@as_json
@click.pass_obj
def cancel(stack: Stack, job: str, json: bool) -> None:
    """Cancels a job."""
    show(stack.post(f"/hub/jobs/{job}/cancel", {}), COLUMNS, json=json)


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise click.UsageError(f"--set {text}: must be FIELD=VALUE, such as steps=20")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


@click.group()
def datasets() -> None:
    """Freezes rated answers as data sets. Requires a key with the scope hub:write, or hub:read to look."""


@datasets.command("list", epilog="Example: headrace hub datasets list")
@limited
@as_json
@click.pass_obj
def list_datasets(stack: Stack, limit: int, json: bool) -> None:
    """Lists data sets, newest first."""
    show(stack.list("/hub/datasets", limit), DATASET_COLUMNS, json=json)


@datasets.command("create", epilog="Example: headrace hub datasets create --format trl-sft --assistant docs --wait")
@click.option(
    "--format",
    type=click.Choice(get_args(RowFormat)),
    default="trl-sft",
    show_default=True,
    help="Format of the rows.",
)
@click.option("--file", metavar="FILE", help="The id of an uploaded file of rows, in place of rated answers.")
@click.option("--assistant", metavar="NAME", help="Only answers of this assistant.")
@click.option("--model", metavar="NAME", help="Only answers of this model.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only ratings with one of these tags; repeatable.")
@click.option("--per-user", type=click.IntRange(1), metavar="N", help="Maximum number of rows of one user.")
@click.option("--no-redact", is_flag=True, help="Keep personal data and secrets in the rows.")
@click.option("--wait", is_flag=True, help="Return when the data set is ready; a failed one ends with the status 1.")
@as_json
@click.pass_obj
def create_dataset(
    stack: Stack,
    format: str,
    file: str | None,
    assistant: str | None,
    model: str | None,
    tags: tuple[str, ...],
    per_user: int | None,
    no_redact: bool,
    wait: bool,
    json: bool,
) -> None:
    """Makes a data set of rated answers, or of an uploaded file."""
    body = {
        "format": format,
        "file": file,
        "assistant": assistant,
        "model": model,
        "tags": list(tags) or None,
        "per_user": per_user,
        "redact": False if no_redact else None,
    }
    made = stack.post("/hub/datasets", body)
    while wait and made["status"] == "building":
        time.sleep(POLL_S)
        made = stack.get(f"/hub/datasets/{made['id']}")
    show(made, DATASET_COLUMNS, json=json)
    if made["status"] == "retired":
        raise click.ClickException(str(made["reason"]))


@datasets.command("show", epilog="Example: headrace hub datasets show DATASET --json")
@click.argument("dataset")
@as_json
@click.pass_obj
def show_dataset(stack: Stack, dataset: str, json: bool) -> None:
    """Shows a data set; with --json its manifest too."""
    show(stack.get(f"/hub/datasets/{dataset}"), DATASET_COLUMNS, json=json)


@datasets.command("delete", epilog="Example: headrace hub datasets delete DATASET --yes")
@click.argument("dataset")
@confirmed("The rows will be deleted. Continue?")
@as_json
@click.pass_obj
def delete_dataset(stack: Stack, dataset: str, json: bool) -> None:
    """Retires a data set and deletes its rows; versions made of it stay."""
    show(stack.delete(f"/hub/datasets/{dataset}"), DATASET_COLUMNS, json=json)
