"""How pods are replaced by those of a new image or with new settings, and what that costs.

KubeRay has one strategy for all worker groups of a RayService: docs/decisions/0018-upgrades.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from infra.gpu import cost, placement
from infra.nodes import scheduler
from infra.scheduling import workload

if TYPE_CHECKING:
    from infra.config import StackConfig
    from infra.nodes.machines import Cloud
    from infra.nodes.scheduler import Group

Strategy = Literal["surge", "in_place"]


@dataclass(frozen=True)
class Surge:
    """The second Ray cluster of a surge: the nodes that it adds, by pool, or why it does not fit beside the first."""

    added: Counter[str]
    obstacle: str = ""


def cluster(config: StackConfig) -> tuple[StackConfig, Cloud, list[Group]] | None:
    """Returns the placed configuration with its cloud and nodes; None if the nodes are unknown."""
    rules = placement.NODE_POOL_RULES.get(config.target)
    if rules is None or rules.cloud is None or not config.node_pools:
        return None
    placed = placement.place(config)
    groups = workload.groups(placed, rules.cloud)
    return None if groups is None else (placed, rules.cloud, groups)


def surge(config: StackConfig) -> Surge | None:
    """Returns what a surge needs; None if the nodes are unknown."""
    if (found := cluster(config)) is None:
        return None
    placed, cloud, groups = found
    pods = workload.pods(placed, cloud)
    now = scheduler.place(pods, groups)
    # KubeRay starts a second cluster beside the first, and deletes the first when the new one serves.
    after = scheduler.place([*workload.after_jobs(placed, cloud), *workload.second_ray_cluster(placed)], groups)
    if after.pending:
        pod, reason = after.pending[0]
        return Surge(Counter(), f"{pod.name} of the new Ray cluster stays Pending: {reason}")
    return Surge(Counter(node.group.name for node in after.nodes) - Counter(node.group.name for node in now.nodes))


def strategy(config: StackConfig) -> Strategy:
    """Returns the configured strategy, else a surge unless it is known not to fit."""
    if config.upgrade != "auto":
        return config.upgrade
    found = surge(config)
    return "in_place" if found is not None and found.obstacle else "surge"


def lines(config: StackConfig) -> Iterator[str]:
    """Yields the chosen strategy, and what each of both costs. The nodes are known."""
    found = surge(config)
    assert found is not None, "the nodes are known"
    chosen = strategy(config)
    why = "as configured" if config.upgrade != "auto" else f"there is {'no ' if found.obstacle else ''}room for a surge"
    yield f"An upgrade of pods is {chosen} ({why}):"
    if found.obstacle:
        yield f"  surge     does not finish: {found.obstacle}"
    else:
        more = ", ".join(f"{number} of '{name}'" for name, number in sorted(found.added.items()))
        price = f", {cost.hourly(config, found.added)}" if found.added else ""
        yield f"  surge     runs two Ray clusters for a while; further nodes: {more or 'none'}{price}"
    yield "  in_place  needs no further nodes, but nothing is served until the new pods have loaded the models"
