"""The reference page of the `headrace` command, generated from its options and help texts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from serving.cli.__main__ import headrace


def blocks(note: str) -> Iterator[str]:
    """Yields the blocks of the page: each command with its arguments, options and example."""
    yield "# Command reference"
    yield note
    yield (
        "`headrace` administers a running stack over its API.\n"
        "`make venv` installs it at `.venv/bin/headrace`, and `python -m serving.cli` does the same.\n"
        "`headrace --help` lists the commands, and each command lists its options with `--help`.\n"
        "The exit status of `headrace` is 0 on success, 1 when the stack refused or could not be reached, and 2 for "
        "wrong arguments.\n"
        "`headrace` reports a failure in one line on standard error."
    )
    yield from _command_blocks(headrace, ())


def _command_blocks(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    name = " ".join(("headrace", *path))
    context = click.Context(command, info_name=name)
    yield f"## {name}"
    yield _plain(command.help)
    yield f"```sh\n{' '.join((name, *command.collect_usage_pieces(context)))}\n```"
    options = [option for option in command.params if isinstance(option, click.Option)]
    if options:
        yield "\n".join(f"- {_option(option, name)}" for option in options)
    if command.epilog and path:
        yield _plain(command.epilog.replace("Example: ", "Example: `", 1)) + "`"
    if isinstance(command, click.Group):
        for below, child in command.commands.items():
            yield from _command_blocks(child, (*path, below))


def _option(option: click.Option, name: str) -> str:
    kind = option.type
    values = [f"`{choice}`" for choice in kind.choices] if isinstance(kind, click.Choice) else []
    sentences = [f"`{option.opts[0]}` of `{name}`: {option.help}"]
    if values:
        sentences.append(f"One of {', '.join(values)}.")
    if option.show_default and option.default is not None:
        sentences.append(f"By default `{option.default}`.")
    if option.required:
        sentences.append("It is required.")
    if option.envvar:
        sentences.append(f"The environment variable is `{option.envvar}`.")
    return " ".join(sentences)


def _plain(text: str | None) -> str:
    """Returns click's text without its markers and without line breaks within paragraphs."""
    paragraphs = (text or "").replace("\b\n", "").split("\n\n")
    return "\n\n".join(re.sub(r"\s+", " ", paragraph).strip() for paragraph in paragraphs)
