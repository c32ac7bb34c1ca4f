"""A disagreement between plan and scheduler is reported with the smallest stack that has it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.scheduling.smallest import smallest

LARGE: dict[str, Any] = {
    "target": "gcp",
    "backup": {"claim": "backups"},
    "node_pools": [{"name": "a", "max_nodes": 4, "taints": []}, {"name": "b", "max_nodes": 2}],
    "pools": [{"name": "serving", "replicas": 3}, {"name": "gpu", "replicas": 4, "node_selector": {"x": "y"}}],
    "models": [{"name": "m", "pool": "serving", "replicas": 3}, {"name": "n", "pool": "gpu"}],
}


def test_only_what_matters_is_left() -> None:
    before = deepcopy(LARGE)
    asked = 0

    def disagrees(settings: dict[str, Any]) -> bool:
        nonlocal asked
        asked += 1
        return any(pool["name"] == "gpu" and pool["replicas"] >= 2 for pool in settings["pools"])

    assert smallest(LARGE, disagrees) == {
        "target": "gcp",
        "node_pools": [{"name": "b", "max_nodes": 1}],
        "pools": [{"name": "serving", "replicas": 1}, {"name": "gpu", "replicas": 2}],
        "models": [{"name": "n", "pool": "gpu"}],
    }
    assert asked <= 60
    assert before == LARGE


def test_a_stack_stays_as_it_is_if_all_matters() -> None:
    assert smallest(LARGE, lambda settings: settings == LARGE) == LARGE
