"""The order of an upgrade, and what Kubernetes does not support."""

from __future__ import annotations

import pytest

from infra.onprem.upgrade import UpgradeStep, plan
from infra.resources.problem import Problem

OLD = {"cp1": "v1.36.4", "cp2": "v1.36.4", "w2": "v1.36.4", "w1": "v1.36.4"}


def test_control_planes_go_first_and_the_first_of_them_changes_the_cluster() -> None:
    assert plan(OLD, "1.37.2", ["cp1", "cp2"], "v1.36.4") == [
        UpgradeStep("cp1", "apply"),
        UpgradeStep("cp2", "node"),
        UpgradeStep("w1", "node"),
        UpgradeStep("w2", "node"),
    ]


def test_interrupted_upgrades_continue() -> None:
    """The cluster is at the new version as soon as the first control plane is, whatever its kubelet is."""
    cut = {**OLD, "cp1": "v1.37.2"}
    assert plan(cut, "1.37.2", ["cp1", "cp2"], "v1.37.2") == [UpgradeStep(n, "node") for n in ("cp2", "w1", "w2")]
    assert plan(OLD, "1.37.2", ["cp1", "cp2"], "v1.37.2")[0] == UpgradeStep("cp1", "node")


def test_an_upgraded_cluster_needs_no_steps() -> None:
    assert plan(dict.fromkeys(OLD, "v1.36.4"), "1.36.4", ["cp1", "cp2"], "v1.36.4") == []


def test_a_node_that_was_replaced_is_not_waited_for() -> None:
    assert plan({"cp2": "v1.36.4"}, "1.36.9", ["cp1", "cp2"], "v1.36.4") == [UpgradeStep("cp2", "apply")]


@pytest.mark.parametrize(
    ("target", "words"),
    [("1.38.0", "upgrade to 1.37 first"), ("1.36.3", "is a downgrade"), ("2", "not a Kubernetes version")],
)
def test_unsupported_upgrades_are_rejected(target: str, words: str) -> None:
    with pytest.raises(Problem, match=words):
        plan(OLD, target, ["cp1", "cp2"], "v1.36.4")


def test_one_node_that_is_too_old_stops_the_whole() -> None:
    with pytest.raises(Problem, match="skips a minor version"):
        plan({**OLD, "w1": "v1.35.1"}, "1.37.0", ["cp1"], "v1.36.4")
