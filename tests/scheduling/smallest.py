"""The smallest stack about which plan and scheduler still disagree: what is taken away made no difference."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

Settings = dict[str, Any]

OPTIONAL = ("ingress", "backup", "addons", "knowledge", "database", "gateway", "retrieval")
OPTIONAL_OF_POOLS = ("node_selector", "tolerations", "reserved_cpus", "temporary_storage")
OPTIONAL_OF_NODES = ("taints", "labels", "capacity", "sharing", "disk_gib", "driver")


def smallest(settings: Settings, disagrees: Callable[[Settings], bool], tries: int = 60) -> Settings:
    """Takes away one thing after the other while `disagrees` holds, which is asked at most `tries` times."""
    found = settings
    candidates = _smaller(found)
    for _ in range(tries):
        candidate = next(candidates, None)
        if candidate is None:
            break
        if disagrees(candidate):
            found = candidate
            candidates = _smaller(found)
    return found


def _smaller(settings: Settings) -> Iterator[Settings]:
    for name in OPTIONAL:
        if name in settings:
            yield {key: value for key, value in settings.items() if key != name}
    for i, pool in enumerate(settings["pools"]):
        if i:
            kept = [model for model in settings["models"] if model["pool"] != pool["name"]]
            rest = {"pools": [other for other in settings["pools"] if other is not pool]}
            yield {**settings, **rest, **({"models": kept} if kept else {})}
    for name in ("models", "node_pools"):
        for i in range(len(settings[name])):
            if len(settings[name]) > 1:
                yield {**settings, name: [one for j, one in enumerate(settings[name]) if j != i]}
    yield from _plainer(settings, "pools", OPTIONAL_OF_POOLS, ("replicas", "max_replicas"))
    yield from _plainer(settings, "node_pools", OPTIONAL_OF_NODES, ("max_nodes", "min_nodes"))
    yield from _plainer(settings, "models", ("scaling", "autoscaling"), ("replicas",))


def _plainer(settings: Settings, name: str, optional: tuple[str, ...], numbers: tuple[str, ...]) -> Iterator[Settings]:
    for i, one in enumerate(settings[name]):
        for key in optional:
            if key in one:
                yield _with(settings, name, i, {k: v for k, v in one.items() if k != key})
        for key in numbers:
            if one.get(key, 0) > 1:
                yield _with(settings, name, i, {**one, key: one[key] - 1})


def _with(settings: Settings, name: str, i: int, one: Settings) -> Settings:
    changed = copy.copy(settings[name])
    changed[i] = one
    return {**settings, name: changed}
