"""Disruption budgets of rendered objects: which of them would let no pod be evicted, so that draining a node hangs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Object = dict[str, Any]


def blocking(objects: Iterable[Object]) -> list[str]:
    """Returns the names of budgets that allow no eviction while all configured pods are ready.

    The pods of a group that scales are counted at its minimum, too.
    """
    known = list(objects)
    pods = [pod for o in known for pod in _pods(o)]
    found = []
    for budget in known:
        if budget["kind"] == "PodDisruptionBudget":
            spec = budget["spec"]
            wanted = spec["selector"]["matchLabels"].items()
            counts = [count for labels, count in pods if wanted <= labels.items()]
            totals = {sum(number for number, _ in counts), sum(least for _, least in counts)}
            found += [f"{budget['metadata']['name']} of {n}" for n in sorted(totals - {0}) if _allowed(spec, n) < 1]
    return found


def _allowed(spec: Object, total: int) -> int:
    if "minAvailable" in spec:
        return total - _number(spec["minAvailable"], total)
    return _number(spec.get("maxUnavailable", 0), total)


def _number(value: int | str, total: int) -> int:
    """Returns a budget's number; Kubernetes rounds percentages up."""
    return -(-int(value.removesuffix("%")) * total // 100) if isinstance(value, str) else value


def _pods(given: Object) -> Iterator[tuple[Object, tuple[int, int]]]:
    """Yields labels of pods, with how many there are as configured and at least."""
    if given["kind"] in ("Deployment", "StatefulSet"):
        number = given["spec"].get("replicas", 1)
        yield given["spec"]["template"]["metadata"]["labels"], (number, number)
    if given["kind"] == "RayService":
        cluster = given["spec"]["rayClusterConfig"]
        yield cluster["headGroupSpec"]["template"]["metadata"]["labels"], (1, 1)
        for group in cluster["workerGroupSpecs"]:
            least = group["minReplicas"] if cluster.get("enableInTreeAutoscaling") else group["replicas"]
            yield group["template"]["metadata"]["labels"], (group["replicas"], least)
