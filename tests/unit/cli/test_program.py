"""The command as a program: exit statuses, one line for each failure, and help that stands alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from serving.cli.__main__ import headrace
from serving.security.keys import new_key

ROOT = Path(__file__).parents[3]


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, *path, name)


ALL = dict(commands(headrace))


@pytest.mark.parametrize("path", [path for path in ALL if path != ("export",)], ids=" ".join)
def test_help_needs_no_stack(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(headrace, [*path, "--help"], prog_name="headrace")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: {' '.join(('headrace', *path))} ")
    command = ALL[path]
    assert command.help
    if not isinstance(command, click.Group):
        assert f"headrace {' '.join(path)}" in (command.epilog or ""), "an example"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name


def test_commands_that_confirm_have_a_yes_option() -> None:
    """Whatever destroys, or opens what somebody stores, has --yes."""
    asking = {path for path, command in ALL.items() for option in command.params if "--yes" in option.opts}
    assert asking == {
        ("tenants", "disable"),
        ("users", "disable"),
        ("keys", "revoke"),
        ("keys", "confirm"),
        ("quotas", "delete"),
        ("prompts", "unlabel"),
        ("prompts", "delete"),
        ("forget", "user"),
        ("hub", "versions", "retire"),
        ("hub", "versions", "withdraw"),
        ("hub", "datasets", "delete"),
    }


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return subprocess.run(
        [sys.executable, "-m", "serving.cli", *arguments],
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_an_unreachable_stack_is_reported_in_one_line() -> None:
    key = new_key()
    ended = run("whoami", HEADRACE_URL="http://127.0.0.1:1", HEADRACE_API_KEY=key)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: http://127.0.0.1:1 cannot be reached: ")
    assert ended.stderr.count("\n") == 1
    assert key not in ended.stderr


@pytest.mark.parametrize(
    ("environment", "arguments", "said"),
    [
        ({}, ["whoami"], "set HEADRACE_URL"),
        ({"HEADRACE_URL": "http://127.0.0.1:1"}, ["whoami"], "set HEADRACE_API_KEY"),
        ({"HEADRACE_URL": "http://127.0.0.1:1", "HEADRACE_API_KEY": " \n"}, ["whoami"], "set HEADRACE_API_KEY"),
        ({"HEADRACE_URL": "http://127.0.0.1:1", "HEADRACE_API_KEY": "a\nb"}, ["whoami"], "one line"),
        ({"HEADRACE_URL": "http://127.0.0.1:1", "HEADRACE_API_KEY": "ä"}, ["whoami"], "ASCII"),
        ({"HEADRACE_URL": "127.0.0.1:8080", "HEADRACE_API_KEY": "k"}, ["whoami"], "The URL"),
        ({"HEADRACE_URL": "http://", "HEADRACE_API_KEY": "k"}, ["whoami"], "The URL"),
        ({"HEADRACE_URL": "http://a\nb", "HEADRACE_API_KEY": "k"}, ["whoami"], "The URL"),
        ({"HEADRACE_URL": "http://u:geheim@x", "HEADRACE_API_KEY": "k"}, ["whoami"], "The URL"),
        ({}, ["--key-file", "/nowhere", "whoami"], "does not exist"),
        ({}, ["keys", "create"], "--user"),
        ({}, ["keys", "create", "--user", "a", "--scope", "platform"], "platform"),
        ({}, ["keys", "create", "--user", "a", "--expires-in", "soon"], "12h"),
        ({}, ["users", "update", "a"], "Nothing to change"),
        ({}, ["users", "update", "a", "--group", "g", "--no-groups"], "cannot be combined"),
        ({}, ["users", "list", "--limit", "0"], "1<=x<=10000"),
        ({"HEADRACE_URL": "http://x", "HEADRACE_API_KEY": "k"}, ["users", "get", ".."], "is not an id"),
        ({}, ["usage", "--mine", "--by", "user"], "--mine"),
        ({}, ["nothing"], "No such command"),
    ],
)
def test_invalid_arguments_are_explained_without_a_traceback(
    environment: dict[str, str], arguments: list[str], said: str
) -> None:
    result = CliRunner(env={"HEADRACE_URL": None, "HEADRACE_API_KEY": None, **environment}).invoke(headrace, arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert "geheim" not in result.stderr


def test_export_is_the_stores_own_program() -> None:
    ended = run("export", "--help")
    assert ended.returncode == 0
    assert "--min-score" in ended.stdout
    ended = run("export", "--format", "trl-sft", "--out", "x", "--database", "sqlite:////nowhere/h.db", "--data", "/x")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")


def test_the_script_passes_its_arguments_on_when_it_is_called_by_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "an environment"
    folder.mkdir()
    python = folder / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    script = folder / "headrace"
    script.write_text((ROOT / "tools" / "headrace.sh").read_text())
    for file in (python, script):
        file.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(script)
    out = subprocess.check_output([link, "users", "create", "a b"], text=True)
    assert out.splitlines() == ["-P", "-m", "serving.cli", "users", "create", "a b"]


def test_the_program_starts_without_the_packages_of_export() -> None:
    code = "import sys, serving.cli.__main__; print([m for m in ('sqlalchemy', 'alembic') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
