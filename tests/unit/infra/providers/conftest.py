from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.providers.session import Session
from infra.resources.resource import Task


class Said(list[str]):
    """What a task told the operator."""

    @property
    def task(self) -> Task:
        return Task(self.append)


@pytest.fixture
def said() -> Said:
    return Said()


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
