"""One Ray behind its door for tests that need no whole stack, and one who watches the whole stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local.watch import Watch
from tests.stack import Stack
from tests.wall import Wall, deploy, walled_ray


@pytest.fixture(scope="session")
def wall() -> Iterator[Wall]:
    """Up, with nothing deployed."""
    with walled_ray() as wall:
        yield wall


@pytest.fixture(scope="session")
def deployed(wall: Wall) -> Wall:
    """With one small application."""
    deploy(wall)
    return wall


@pytest.fixture(scope="module")
def watch(stack: Stack) -> Iterator[Watch]:
    """Over the session's stack. It scrapes often: only modules that ask it bear it."""
    watch = Watch(stack)
    yield watch
    watch.close()
