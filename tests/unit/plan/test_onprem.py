"""The example stack on machines of your own, planned: nobody is asked, and nothing is reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra.layout import CHECKOUT
from tests.rendering.examples import settings
from tests.unit.plan.golden import check, golden

EXAMPLE = CHECKOUT / "Pulumi.onprem.yaml"

Planner = Callable[..., Any]


@pytest.fixture
def planned(plan_once: Planner, kubeconfig: Path) -> Any:
    return plan_once(settings(EXAMPLE, kubeconfig))


def test_planned_on_premises_resources_match_the_recorded_ones(planned: Any) -> None:
    """But for the files that the provider writes, which have tests of their own."""
    made = [r for r in planned.resources.values() if "headrace:onprem:Cluster" in r.urn]
    check("onprem.yaml", golden(made, left_out={"manifests", "revision"}))


def test_machines_become_nodes_and_nodes_a_cluster(planned: Any) -> None:
    kinds = {r.name: r.token.rpartition(":")[2] for r in planned.resources.values() if r.parent == "onprem"}
    for host in ("cp1", "w1", "w2"):
        assert kinds[f"machine-{host}"] == "Machine"
        assert kinds[f"node-{host}"] == "KubernetesNode"
        assert f"machine-{host}" in planned[f"node-{host}"].dependencies
    assert {"machine-w2", "node-cp1"} <= set(planned["cluster"].dependencies)
    assert {"cluster", "node-cp1"} <= set(planned["node-w1"].dependencies)


def test_the_stack_comes_after_the_nodes(planned: Any) -> None:
    assert {"cluster", "node-cp1", "node-w1", "node-w2"} <= set(planned["namespace"].dependencies)
    provider = planned["pulumi:providers:kubernetes cluster"]
    assert set(provider.secrets) >= {"kubeconfig"}
    assert planned["cluster"].secret_outputs == ["kubeconfig"]


def test_pods_find_their_machines(planned: Any) -> None:
    assert planned["node-w2"].inputs["labels"] == {"headrace.io/node-pool": "gpu"}
    assert [t["key"] for t in planned["node-w2"].inputs["taints"]] == ["nvidia.com/gpu"]
    pools = planned["headrace"].inputs["values"]["pools"]
    assert pools["gpu"]["nodeSelector"] == {"headrace.io/node-pool": "gpu"}
    assert [t["key"] for t in pools["gpu"]["tolerations"]] == ["nvidia.com/gpu"]
    releases = [r.inputs["chart"] for r in planned.resources.values() if r.token == "kubernetes:helm.sh/v3:Release"]
    assert "nvidia-device-plugin" in releases  # the driver is there, and nobody else advertises


def test_volumes_are_of_the_clusters_own_class(planned: Any) -> None:
    values = planned["headrace"].inputs["values"]
    assert values["persistence"]["data"]["storageClass"]
    assert values["persistence"]["data"]["storageClass"] == values["head"]["gcs"]["rocksdb"]["storageClass"]


def test_hosts_are_contacted_with_a_valid_configuration_only(plan: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.mistakes import Mistake
    from infra.onprem import preflight

    asked: list[str] = []

    def answer(hosts: Any, stack: str) -> list[Mistake]:
        asked.extend(host.name for host in hosts.hosts)
        return [Mistake("onprem.hosts[0]", "has swap", "switch it off")]

    monkeypatch.setattr(preflight, "mistakes", answer)
    with pytest.raises(pulumi.RunError, match="has swap; switch it off"):
        plan(settings(EXAMPLE), stack="example")
    assert asked == ["cp1", "w1", "w2"]
    wrong = settings(EXAMPLE)
    wrong["onprem"]["pod_range"] = "8.0.0.0/16"
    with pytest.raises(pulumi.RunError, match="pod_range"):
        plan(wrong, stack="example")
    assert len(asked) == 3
