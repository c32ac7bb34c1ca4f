"""What tests on the cluster talk to it with; the cluster itself is a fixture of all tests."""

from collections.abc import Iterator

import pytest

from tests.cluster.pods import Kubectl, new_namespace
from tools.cluster.kubectl import kubectl as run_kubectl


@pytest.fixture(scope="session")
def kubectl(cluster: object) -> Kubectl:
    """`kubectl(*arguments, input=None)` returns what it prints, and raises ToolError."""
    return run_kubectl


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    with new_namespace(request.node.name.replace("_", "-").split("[")[0][:60].rstrip("-")) as name:
        yield name
