"""What tests on the cluster, a fixture of all tests, talk to it with; and which of them have it for themselves."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.cluster.isolation import WHERE, Ray, attack, foreign_pods, the_ray
from tests.cluster.pods import Kubectl, new_namespace
from tests.cluster.session import TURN
from tests.ray_isolation.attack import Report
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


@pytest.fixture(scope="session")
def ray(stack: object, kubectl: Kubectl) -> Ray:
    """The stack's Ray, before tests that make it another one."""
    return the_ray(kubectl)


@pytest.fixture(scope="session")
def attackers(kubectl: Kubectl, ray: Ray) -> Iterator[None]:
    """Foreign pods, beside the stack and elsewhere."""
    with foreign_pods(kubectl, ray):
        yield


@pytest.fixture(scope="session")
def kept_out(kubectl: Kubectl, ray: Ray, attackers: None) -> Iterator[dict[str, Future[tuple[Report, set[str]]]]]:
    """What an attack with Ray's token comes to, by namespace, while policies are closed.

    It waits for connections that nobody takes, and does so beside tests that ask for it.
    """
    with ThreadPoolExecutor(len(WHERE)) as pool:
        yield {where: pool.submit(attack, kubectl, ray, where, ray.token) for where in WHERE}
