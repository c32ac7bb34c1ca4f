"""The `headrace` command: administers tenants, users, keys and quotas through the API of a running stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from serving.cli import audit, evaluate, export, forget, hub, keys, quotas, tenants, users, whoami
from serving.cli.client import Stack
from serving.cli.prompts.commands import prompts
from serving.cli.requests.commands import requests
from serving.cli.usage.commands import usage

MAX_KEY_FILE = 4096


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  export HEADRACE_URL=http://127.0.0.1:8080 HEADRACE_API_KEY=hr_…
  headrace whoami
  headrace tenants create acme --name "Acme Inc"
  headrace --key-file admin.key users list --tenant acme --json

Exit status: 0 done, 1 the stack refused or cannot be reached (the last line says why), 2 wrong arguments.""",
)
@click.option(
    "--url",
    envvar="HEADRACE_URL",
    metavar="URL",
    help="URL of the stack, without /v1; by default HEADRACE_URL.",
)
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file with the API key; by default the key in HEADRACE_API_KEY. "
    "There is no option for the key itself: others on the host can read arguments.",
)
@click.pass_context
def headrace(context: click.Context, url: str | None, key_file: Path | None) -> None:
    """Administers a running Headrace stack: its tenants, users, keys and quotas.

    The permissions depend on the API key: the stack's own key administers every tenant (selected by --tenant), a key
    with the scope admin its own tenant, and one with the scope operate can read usage and the audit log.
    """
    context.obj = Stack(url, lambda: _key(key_file))
    context.call_on_close(context.obj.close)


def _key(file: Path | None) -> str:
    """Returns the API key. Raises a `UsageError` when there is none."""
    if file is None:
        key = os.environ.get("HEADRACE_API_KEY", "")
    else:
        try:
            with file.open(encoding="ascii") as content:
                key = content.read(MAX_KEY_FILE)
        except (OSError, UnicodeDecodeError):
            raise click.UsageError(f"The key file {file} cannot be read as an API key.") from None
    key = key.strip()
    if not key:
        raise click.UsageError("No API key: set HEADRACE_API_KEY, or give --key-file.")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise click.UsageError("The API key is one line of printable ASCII characters.")
    return key


for command in (
    whoami.whoami,
    tenants.tenants,
    users.users,
    keys.keys,
    usage,
    requests,
    prompts,
    quotas.quotas,
    evaluate.evaluate,
    hub.hub,
    export.export,
    forget.forget,
    audit.audit,
    hub.hub,
):
    headrace.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and ends the process with its exit status."""
    try:
        headrace.main(arguments, prog_name="headrace")
    except ModuleNotFoundError as e:  # the distribution has only what most commands need
        click.ClickException(_lacking(e.name or "")).show()
        sys.exit(1)


def _lacking(module: str) -> str:
    """Returns what to do about a module that is not installed."""
    if module.partition(".")[0] == "serving":
        return "This command reads the stack's database: run it on the stack's host, by `.venv/bin/headrace`."
    return f"This command needs packages that are not installed ({module}): pip install 'headrace[full]'."


if __name__ == "__main__":
    main()
