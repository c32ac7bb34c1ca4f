from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.providers.resource import Task
from infra.providers.session import Session
from tests.servers import held_port


class Said(list[str]):
    """What a task told the operator."""

    @property
    def task(self) -> Task:
        return Task(self.append)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def own_port() -> Iterator[int]:
    with held_port() as port:
        yield port


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Callable[[str], Session]]:
    """Sessions by name; whatever they run is ended with the test."""
    made: list[Session] = []

    def make(name: str = "it") -> Session:
        made.append(Session(tmp_path / "run" / name))
        return made[-1]

    yield make
    for session in made:
        session.end(patience_s=0.2)


@pytest.fixture
def web(tmp_path: Path, own_port: int, sessions: Any) -> dict[str, Any]:
    """Inputs of a small web server as a `Process`."""
    import sys

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
