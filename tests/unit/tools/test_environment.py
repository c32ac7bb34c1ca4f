"""Groups of packages that a target brings into the environment that runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import environment
from tools.report import ToolError

Write = Callable[[str], None]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the requirements of a group called some."""
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return lambda content: (tmp_path / "some.txt").write_text(content) and None


def test_a_group_is_added_once(group: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    group("# nothing to install\n")
    environment.add("some")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it is installed again"))
    environment.add("some")


def test_another_version_is_added_again(group: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command))
    for content in ("# one\n", "# two\n"):
        group(content)
        environment.add("some")
    assert len(ran) == 2
    assert "--require-hashes" in ran[0]


def test_what_cannot_be_installed_is_said_and_tried_again(group: Write) -> None:
    group("./no-such-folder --hash=sha256:00\n")
    for _ in range(2):
        with pytest.raises(ToolError, match="the packages of some cannot be installed"):
            environment.add("some")
