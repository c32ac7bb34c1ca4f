"""One Ray behind its door for all tests of this folder that need no whole stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
