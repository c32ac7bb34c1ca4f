from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import held_port
from tests.unit.infra.providers.conftest import said, sessions

__all__ = ["said", "sessions"]


@pytest.fixture
def own_port() -> Iterator[int]:
    with held_port() as port:
        yield port


@pytest.fixture
def web(tmp_path: Path, own_port: int, sessions: Any) -> dict[str, Any]:
    """Inputs of a small web server as a `Process`."""
    record = sessions("web").folder
    return {
        "argv": [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(own_port)],
        "env": {"PATH": "/usr/bin:/bin"},
        "cwd": str(tmp_path),
        "record": str(record),
        "log": str(tmp_path / "web.log"),
        "ready": f"http://127.0.0.1:{own_port}/",
        "files": {str(tmp_path / "settings"): "one"},
    }
