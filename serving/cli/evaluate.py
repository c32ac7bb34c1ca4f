"""`headrace evaluate`."""

from __future__ import annotations

import asyncio
import json as encoding
from collections.abc import Iterator
from pathlib import Path

import click

from serving.cli.card import lines
from serving.cli.client import Stack
from serving.cli.path import segment
from serving.cli.suite_file import read_suite


@click.command(epilog="Example: headrace evaluate --suite capitals.yaml --model candidate --against smollm2")
@click.option(
    "--suite",
    "suite_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="The suite, as YAML or JSON.",
)
@click.option("--model", required=True, metavar="NAME", help="The model, alias or assistant to score.")
@click.option("--against", metavar="NAME", help="The model, alias or assistant to compare with; needed for the gate.")
@click.option(
    "--training",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The exported training data (JSON Lines) of the model, which must not contain prompts of the suite.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Number of prompts that are answered at once; speeds are comparable only with equal numbers.",
)
@click.option("--json", "json", is_flag=True, help="Print the card as JSON instead of a table.")
@click.pass_obj
def evaluate(
    stack: Stack,
    suite_file: Path,
    model: str,
    against: str | None,
    training: Path | None,
    concurrency: int,
    json: bool,
) -> None:
    """Scores a model on a suite, and says whether the gate would let it replace another.

    Programs in answers run in a sandbox on this host. The exit status is 0 also if the gate refuses.
    """
    from serving.cli.evaluation import run  # what it imports takes longer than any other command takes

    suite = read_suite(suite_file)
    for name in (model, against, getattr(suite.judge, "model", None)):
        if name is not None:
            stack.get(f"/models/{segment(name)}")  # a mistyped name would otherwise be an error of each prompt
    texts = _texts(training) if training is not None else ()
    client = stack.async_client()

    def progress(done: int, total: int) -> None:
        click.echo(f"\r{done} of {total} prompts", nl=done == total, err=True)

    card = asyncio.run(run(client, suite, model, against, texts, concurrency, progress))
    if json:
        click.echo(encoding.dumps(card, indent=2, ensure_ascii=False))
        return
    for line in lines(card):
        click.echo(line)


def _texts(file: Path) -> Iterator[str]:
    """Yields the user's messages in exported training data."""
    from serving.hub.evaluation.overlap import user_texts

    with file.open("rb") as lines:
        try:
            yield from user_texts(lines)
        except ValueError:
            raise click.BadParameter(f"{file} is not JSON Lines.") from None
