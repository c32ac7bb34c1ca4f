"""A cache and a PATH of the test's own: no test sees the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; empty."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def script(version: str) -> bytes:
    return f"#!/bin/sh\necho alpha version {version}\n".encode()


@pytest.fixture
def put(path_dir: Path) -> Callable[..., Path]:
    """Puts an executable that prints a version on PATH."""

    def put(name: str, version: str, folder: Path = path_dir) -> Path:
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_bytes(script(version))
        file.chmod(0o755)
        return file

    return put
