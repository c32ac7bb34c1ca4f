from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.root_logger import root_logger
from tests.unit.guard import GUARD

__all__ = ["root_logger"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with GUARD.watching():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with GUARD.watching():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with GUARD.watching():
        yield
