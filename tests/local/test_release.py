"""The last released version's state, data and configuration: this version comes up on them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.stack import Stack, free_ports
from tools import fixture
from tools.workspace import Workspace

LAST = max(fixture.FIXTURES.glob("release-*"), key=lambda p: [int(n) for n in p.name.split("-")[1].split(".")])


@pytest.fixture
def released() -> Iterator[Stack]:
    """The stack of the fixture, not up yet."""
    stack = Stack(fixture.NAME)
    names = ("api", "prometheus", "dashboard", "exporter", "status")
    ports = {**dict(zip(names, free_ports(len(names)), strict=True)), "ray": 0}
    settings = yaml.safe_load(fixture.relocated((LAST / "settings.yaml").read_text(), stack.layout, ports))
    # A port that the release did not have yet would be the default one, which may be taken.
    stack.configure(**{**settings, "ports": ports})
    try:
        workspace = Workspace.of(stack.name)
        for part in ("data", "secrets"):
            shutil.copytree(LAST / part, stack.layout.state / part, dirs_exist_ok=True)
        state = json.loads(fixture.relocated((LAST / "pulumi.json").read_text(), stack.layout, ports))
        state["deployment"]["secrets_providers"] = {"type": "passphrase", "state": {"salt": workspace.salt}}
        exported = stack.layout.state / "import.json"
        exported.write_text(json.dumps(state))
        stack.run("pulumi", "stack", "import", "--file", str(exported))
        exported.unlink()
        yield stack
    finally:
        stack.run("purge")
        stack.file.unlink(missing_ok=True)


def test_this_version_comes_up_on_the_last_release(released: Stack) -> None:
    released.run("up")
    up = released.outputs()
    assert up.key == fixture.SECRETS["secrets/api_key"], "the key is the one that users have"
    uploaded = json.loads((LAST / "uploaded.json").read_text())
    question = {"role": "user", "content": "When is the upper lock of Arvel emptied?"}
    with up.client() as client:
        assert client.get(f"/v1/files/{uploaded['id']}/content").text == uploaded["text"]
        answer = client.post("/v1/chat/completions", json={"model": "docs", "messages": [question]}).json()
    citations = answer["choices"][0]["message"]["headrace"]["citations"]
    assert "canal.md" in {c["file_name"] for c in citations}


def test_the_fixture_names_no_host() -> None:
    for file in Path(LAST).rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for path in (str(fixture.CHECKOUT), str(Path.home()), "/home/", "/tmp/", ".cache"):
                assert path.encode() not in content, f"{file} names {path}"
