"""What tests on the cluster talk to it with; the cluster itself is a fixture of all tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.kserve import model
from tests.cluster.kserve.controller import Controller
from tests.cluster.pods import Kubectl, new_namespace
from tests.cluster.stack import ClusterStack
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


@pytest.fixture(scope="session")
def kserve(stack: ClusterStack) -> Iterator[Controller]:
    """Runs the stack's models of KServe, once its settings have one."""
    with model.controller() as running:
        yield running


@pytest.fixture(scope="session")
def kserve_settings(stack: ClusterStack) -> dict[str, Any]:
    """Further settings: a model of KServe."""
    return model.settings(stack)
