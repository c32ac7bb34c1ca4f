"""The root logger as it was, after each test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from serving.telemetry.logs import Stderr


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """A process that sets its logging up does so for good; the tests of a worker share theirs."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [each for each in root.handlers if isinstance(each, Stderr)]:
        root.removeHandler(handler)
    root.setLevel(level)
