"""The running stack that the client, local and cluster suites ask.

`--target local` (the default) brings up a stack of this host's own on free ports and purges it at the end;
`--target cluster` uses the stack on the test cluster. `HEADRACE_TEST_STACK=NAME` uses a stack of this checkout that is
already up and leaves it up, which is quick while writing a test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack, own_stack, write_documents


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", choices=("local", "cluster"), default="local", help="where the stack under test runs")


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of documents that tests may edit."""
    return write_documents(tmp_path_factory.mktemp("knowledge"))


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, documents: Path) -> Iterator[Stack]:
    """The session's stack, up."""
    if name := os.environ.get("HEADRACE_TEST_STACK"):
        yield Stack(name).outputs()
        return
    with own_stack("test", documents) as up:
        yield up
