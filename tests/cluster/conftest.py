"""What tests on the cluster, a fixture of all tests, talk to it with; and which of them have it for themselves."""

from collections.abc import Iterator

import pytest

from tests.cluster.pods import Kubectl, new_namespace
from tests.cluster.session import TURN
from tools.cluster.kubectl import kubectl as run_kubectl


def _alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if _alone(item):
        TURN.alone()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Lets others in when the last test that has the cluster for itself is over, and the session is not."""
    if _alone(item) and nextitem is not None and not _alone(nextitem):
        TURN.share()


@pytest.fixture(scope="session")
def kubectl(cluster: object) -> Kubectl:
    """`kubectl(*arguments, input=None)` returns what it prints, and raises ToolError."""
    return run_kubectl


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    with new_namespace(request.node.name.replace("_", "-").split("[")[0][:60].rstrip("-")) as name:
        yield name
