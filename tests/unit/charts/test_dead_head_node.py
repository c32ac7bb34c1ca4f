"""A head whose node is dead moves soon, and workers wait for it so that their engines need not load again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.rendering.chart import Rendered

Render = Callable[..., Rendered]

TAINTS = {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
NOTICED_S = 50
"""node-monitor-grace-period of kube-controller-manager."""
DETACHED_S = 360
"""After which its attach-detach controller takes a volume from a node that does not answer."""


def head(rendered: Rendered) -> dict[str, Any]:
    spec: dict[str, Any] = rendered.cluster["headGroupSpec"]["template"]["spec"]
    return spec


def patience(rendered: Rendered) -> set[int]:
    return {
        int(variable["value"])
        for group in rendered.groups.values()
        for container in group["template"]["spec"]["containers"]
        for variable in container["env"]
        if variable["name"] == "RAY_gcs_rpc_server_reconnect_timeout_s"
    }


def starts_within(rendered: Rendered) -> int:
    [ray] = [container for container in head(rendered)["containers"] if container["name"] == "ray-head"]
    probe = ray["startupProbe"]
    return int(probe["periodSeconds"]) * int(probe["failureThreshold"])


@pytest.mark.parametrize("seconds", [None, 0, 45, 300])
def test_workers_wait_until_a_head_on_another_node_answers(render: Render, seconds: int | None) -> None:
    rendered = render({**({} if seconds is None else {"head": {"tolerationSeconds": seconds}})})
    stays = {t["key"]: t for t in head(rendered)["tolerations"]}
    expected = 10 if seconds is None else seconds
    assert stays.keys() == TAINTS
    assert {t["tolerationSeconds"] for t in stays.values()} == {expected}
    assert {(t["operator"], t["effect"]) for t in stays.values()} == {("Exists", "NoExecute")}
    assert patience(rendered) == {NOTICED_S + expected + DETACHED_S + starts_within(rendered)}


def test_the_head_leaves_a_dead_node_within_about_a_minute(render: Render) -> None:
    [seconds] = {t["tolerationSeconds"] for t in head(render())["tolerations"]}
    assert 30 <= NOTICED_S + seconds <= 60


def test_tolerations_of_the_values_stay(render: Render) -> None:
    own = [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}]
    found = head(render({"head": {"tolerations": own}}))["tolerations"]
    assert found[:1] == own
    assert {t["key"] for t in found[1:]} == TAINTS


def test_workers_stay_where_their_engines_are(render: Render) -> None:
    """Their pods have Kubernetes' own 300 s: a GPU node that comes back still has the model in memory."""
    for group in render().groups.values():
        assert TAINTS.isdisjoint({t.get("key") for t in group["template"]["spec"].get("tolerations", [])})
