"""What tests on the cluster talk to it with; the cluster itself is a fixture of all tests."""

from collections.abc import Callable, Iterator

import pytest

from tools.cluster.kubectl import kubectl as run_kubectl

Kubectl = Callable[..., str]


@pytest.fixture(scope="session")
def kubectl(cluster: None) -> Kubectl:
    """`kubectl(*arguments, input=None)` returns what it prints, and raises ToolError."""
    return run_kubectl


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = request.node.name.replace("_", "-").split("[")[0][:60].rstrip("-")
    kubectl("create", "namespace", name)
    kubectl(f"-n={name}", "wait", "--for=create", "serviceaccount/default", "--timeout=60s")  # before it no pod may be
    yield name
    kubectl("delete", "namespace", name, "--wait", "--timeout=180s")
