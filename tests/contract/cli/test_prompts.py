"""`headrace prompts` against a gateway: from a file to a label, and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from serving.cli.__main__ import headrace
from serving.protocol.prompts.template import MAX_TEXT
from tests.contract.running import Gateway


def test_prompts_are_made_labelled_and_deleted(up: Gateway, tmp_path: Path) -> None:
    environment = {"HEADRACE_URL": up.url, "HEADRACE_API_KEY": up.key}

    def run(*arguments: str, status: int = 0, input: str | None = None) -> Result:
        result = CliRunner(env=environment).invoke(headrace, ["prompts", *arguments], input=input)
        assert result.exit_code == status, result.output
        return result

    def told(*arguments: str, **more: Any) -> Any:
        return json.loads(run(*arguments, "--json", **more).stdout)

    file = tmp_path / "greeting.txt"
    file.write_text("Hi {{name}} ☀\n", encoding="utf-8")
    made = told("create", "greeting", str(file), "--description", "For the hall")
    id = made["id"]
    assert (made["name"], made["description"], made["version"]) == ("greeting", "For the hall", 1)
    [first] = told("versions", id)["data"]
    assert first["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert told("add", id, "-", input="Bye {{name}}\x1b[2J")["version"] == 2
    assert told("label", id, "production", "1", "--expected", "0")["version"] == 1
    late = run("label", id, "production", "2", "--expected", "2", status=1)
    assert "points to version 1" in late.stderr
    assert run("render", id, "--variable", "name=a=b").stdout == "Hi a=b ☀\n\n"
    assert run("render", id, "--version", "latest", "--variable", "name=x").stdout == "Bye x?[2J\n"
    assert "(400, variables.name)" in run("render", id, status=1).stderr
    run("render", id, "--variable", "name", status=2)
    assert run("show", id, "--version", "production").stdout == "Hi {{name}} ☀\n\n"
    assert told("show", id, "--version", "2")["text"] == "Bye {{name}}\x1b[2J"
    assert '{"production": 1}' in run("show", id).stdout
    assert "greeting" in run("list").stdout
    assert "2" in run("versions", id).stdout
    run("unlabel", id, "production", input="n\n", status=1)
    run("unlabel", id, "production", "--yes")
    assert told("show", id)["labels"] == {}
    run("delete", id, input="n\n", status=1)
    run("delete", id, "--yes")
    assert "(404)" in run("show", id, status=1).stderr
    for content in (b"\xff", b"x" * (MAX_TEXT + 1)):
        file.write_bytes(content)
        run("create", "never", str(file), status=2 if content == b"\xff" else 1)
    assert "never" not in run("list").stdout
