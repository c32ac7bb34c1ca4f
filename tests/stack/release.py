"""State, data, secrets and configuration that the last released version leaves on a host."""

from __future__ import annotations

import json
import shutil

import yaml

from tests.stacks.stack import Stack
from tools import fixture
from tools.stack.workspace import Workspace

LAST = max(fixture.FIXTURES.glob("release-*"), key=lambda p: [int(n) for n in p.name.split("-")[1].split(".")])


def collections() -> dict[str, list[str]]:
    """The paths of each collection, by its name."""
    return {one["name"]: one["paths"] for one in yaml.safe_load((LAST / "settings.yaml").read_text())["knowledge"]}


def leave(stack: Stack) -> None:
    """Restores the files that the release left, except the stack's configuration file, which exists already."""
    ports = stack.settings()["ports"]
    workspace = Workspace.prepare(stack.name)
    for part in ("data", "secrets"):
        shutil.copytree(LAST / part, stack.layout.state / part, dirs_exist_ok=True)
    state = json.loads(fixture.without_placeholders((LAST / "pulumi.json").read_text(), stack.layout, ports))
    state["deployment"]["secrets_providers"] = {"type": "passphrase", "state": {"salt": workspace.salt}}
    exported = stack.layout.state / "import.json"
    exported.write_text(json.dumps(state))
    stack.run("pulumi", "stack", "import", "--file", str(exported))
    exported.unlink()
