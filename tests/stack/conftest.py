"""What the tests of the one stack share: its order, one who watches it, a load; and a Ray for what needs no stack."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.ray_isolation.proxied_ray import ProxiedRay, deploy, proxied_ray
from tests.stack.verdict import Verdict, verdict
from tests.stack.watch import Watch
from tests.stacks.stack import Stack

ORDER = (
    "test_release",
    "test_api",
    "test_haproxy",
    "test_metrics",
    "test_life",
    "test_tutorial",
    "test_citations",
    "test_alerts",
    "test_snippets",
    "test_runbook_commands",
    "test_faults",
    "test_ports",
    "test_end",
)
"""Files of tests that ask the stack. The load of `mixed` begins in test_life and ends in test_alerts: what counts
requests comes before, what kills after. Between them is what readers type, of the documentation and the runbooks, for
which nobody waits."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        if "stack" not in getattr(item, "fixturenames", ()):
            return -1
        return ORDER.index(item.path.stem) if item.path.stem in ORDER else 0

    if config.getoption("--target") == "local":
        items.sort(key=place)


@pytest.fixture(scope="session")
def watch(stack: Stack) -> Iterator[Watch]:
    """A Prometheus over the session's stack. It scrapes often, so tests that count scrapes run before its first use."""
    watch = Watch(stack)
    yield watch
    watch.close()


@pytest.fixture(scope="session")
def mixed(request: pytest.FixtureRequest, stack: Stack, watch: Watch) -> Iterator[Future[Verdict]]:
    """A load with callers' mistakes, and its verdict in the end; it runs in parallel to tests that use the fixture.

    It does not begin in a session that judges it in no test.
    """
    if not any(item.path.stem == "test_alerts" for item in request.session.items):
        yield Future()
        return
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(verdict, stack, watch)


@pytest.fixture(scope="session")
def deployed() -> Iterator[ProxiedRay]:
    """A separate Ray behind its dashboard proxy, with one small application."""
    with proxied_ray() as ray:
        deploy(ray)
        yield ray
