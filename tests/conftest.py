"""The running stack that the client, stack and cluster suites ask.

`--target local` (the default) brings up a stack of this host's own on free ports and purges it at the end;
`--target cluster` uses the stack on the test cluster. `HEADRACE_TEST_STACK=NAME` uses a stack of this checkout that is
already up and leaves it up, which is quick while writing a test; what asks the model `ticker` needs one there too.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.groups import group_of

if TYPE_CHECKING:  # a fixture imports what it needs: most tests need no stack, whose modules take a second to import
    from tests.stacks.sign_on import SignOn
    from tests.stacks.stack import Stack

CLUSTER_TIMEOUT_S = 2700

pytest_plugins = ("tests.changed", "tests.endings")

# Else the garbage collector goes through all of a large process again and again: a third of the time of some modules.
gc.set_threshold(50_000)

# How long an example takes says how busy the host is. What a test's own @settings leave open is as here.
settings.register_profile("explore", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
# The same examples in each run: nobody's change fails by what chance has found in somebody else's. The soak explores.
settings.register_profile("headrace", settings.get_profile("explore"), derandomize=True, max_examples=100)
settings.load_profile("headrace")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", choices=("local", "cluster"), default="local", help="where the stack under test runs")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """`--dist=loadgroup` has our groups; None leaves any other way to xdist."""
    if config.getoption("dist") != "loadgroup":
        return None
    from tests.groups import Groups

    return Groups(config, log)


def pytest_collection_finish() -> None:
    """What imports and the collection have left stays to the end: the garbage collector need not go through it."""
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a cluster: first what has it for itself, then what asks the stack, and last what its markers say.

    Processes of pytest-xdist take the groups in this order: one makes the cluster while another needs none yet, and the
    stack comes up beside the tests of the cluster.
    """
    if config.getoption("--target") != "cluster":
        return

    def when(item: pytest.Item) -> tuple[int, ...]:
        marked = {name: item.get_closest_marker(name) is not None for name in ("looks_back", "last", "alone")}
        stack, cluster = (name in getattr(item, "fixturenames", ()) for name in ("stack", "cluster"))
        machines = 0 if group_of(item.nodeid) != "machines" else 1 + cluster
        judged = item.path.stem == "test_isolation"  # an attack that began in test_verbs.py
        return marked["looks_back"], marked["last"], stack, judged, not marked["alone"], machines

    items.sort(key=when)
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(CLUSTER_TIMEOUT_S))  # the first one brings everything up


def wanted(request: pytest.FixtureRequest, fixture: str) -> bool:
    """Whether a test of this session asks for a fixture, and so the session's stack must be made for it."""
    return any(fixture in getattr(item, "fixturenames", ()) for item in request.session.items)


@pytest.fixture(scope="session")
def documents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of documents that tests may edit."""
    from tests.stacks.stack import write_documents

    return write_documents(tmp_path_factory.mktemp("knowledge"), whole=wanted(request, "documentation"))


@pytest.fixture(scope="session")
def documentation(documents: Path) -> Path:
    """All of the documentation, which the assistant `docs` of the session's stack knows when a test asks for this."""
    return documents.parent / "headrace"


@pytest.fixture(scope="session")
def sign_on(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignOn]:
    """The identity provider of the session's stack."""
    from tests.stacks.sign_on import running

    with running(
        tmp_path_factory.mktemp("sign-on"), on_cluster=request.config.getoption("--target") == "cluster"
    ) as on:
        yield on


def _knowledge(documents: Path) -> dict[str, object]:
    """The collections of the last release, which have further documents, beside those of every test's stack."""
    from tests.stack import release
    from tests.stacks.stack import knowledge

    paths = {one["name"]: one["paths"] for one in knowledge(documents)}
    for name, released in release.collections().items():
        paths[name] = [*released, *paths.get(name, [])]
    return {"knowledge": [{"name": name, "paths": of} for name, of in paths.items()]}


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The session's stack, up: on this host on what the last release left, with more models, assistants and documents.

    From nothing a stack of this host comes up in the soak, one on a cluster here.
    """
    from tests.stack import release
    from tests.stacks import scripted
    from tests.stacks.stack import Stack, own_stack, ticking
    from tools import fixture

    name = os.environ.get("HEADRACE_TEST_STACK")
    if request.config.getoption("--target") == "cluster":
        request.getfixturevalue("cluster")
        from tests.cluster.stack import cluster_stack, standing

        if name:
            with standing(name) as up:
                yield up
            return
        sign_on: SignOn = request.getfixturevalue("sign_on")
        with cluster_stack(documents, tmp_path_factory.mktemp("charts"), sign_on.settings()) as up:
            sign_on.reach(up.url)
            yield up
        return
    if name:
        yield Stack(name).outputs()
        return
    on = request.getfixturevalue("sign_on") if wanted(request, "sign_on") else None
    with ticking() as ticker:

        def more(url: str) -> dict[str, object]:
            return {**(on.at(url) if on else {}), **scripted.settings(ticker["url"]), **_knowledge(documents)}

        with own_stack(fixture.NAME, documents, [ticker], more, before=release.leave) as up:
            yield up


@pytest.fixture(scope="session")
def cluster() -> Iterator[Mapping[str, frozenset[str]]]:
    """The test cluster (see tests/cluster/session.py), and what each machine was before."""
    from tests.cluster.session import session_cluster

    with session_cluster() as before:
        yield before
