"""Simulates kube-scheduler and a cluster autoscaler: places pods on nodes one after the other.

Of the nodes that a pod's selector and tolerations allow and that have enough resources, it gets the one with the
largest share of CPU and memory free (kube-scheduler's default, NodeResourcesFit with LeastAllocated). If there is none,
a node is added to a pool that may grow. The order in which pods arrive is unpredictable, so several are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from infra.cluster_config import Toleration
from infra.gpu.pools import Taint
from infra.scheduling.resources import Resources


@dataclass(frozen=True)
class Group:
    """Identical nodes, between `least` and `most` of them. For the replicas of a Ray cluster, its pods are
    the nodes.
    """

    name: str
    offers: Resources
    """Resources of each node for pods."""
    least: int
    most: int
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True)
class PodRequest:
    """A pod's requests, and the constraints on its placement."""

    name: str
    requests: Resources
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    key: str = ""
    """The setting that determines the request; empty: none."""
    beside: str = ""
    """Name of a pod whose node it must run on, because of a volume that they share; empty: none."""


@dataclass
class Node:
    """A node and its pods."""

    group: Group
    free: Resources
    pods: list[PodRequest] = field(default_factory=list)

    def take(self, pod: PodRequest) -> None:
        self.free -= pod.requests
        self.pods.append(pod)


@dataclass(frozen=True)
class Placement:
    """Nodes with their pods, and the Pending pods, each with the reason."""

    nodes: tuple[Node, ...]
    pending: tuple[tuple[PodRequest, str], ...]


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    return (
        toleration.key == taint.key
        and toleration.effect in ("", taint.effect)
        and (toleration.operator == "Exists" or toleration.value == taint.value)
    )


def allowed(pod: PodRequest, group: Group) -> bool:
    """Returns whether a pod may run on the nodes of a group, regardless of free resources."""
    return all(group.labels.get(key) == value for key, value in pod.selector.items()) and all(
        taint.effect == "PreferNoSchedule" or any(_tolerates(t, taint) for t in pod.tolerations)
        for taint in group.taints
    )


def _free_share(node: Node, pod: PodRequest) -> float:
    left, whole = node.free - pod.requests, node.group.offers
    return left.cpu / max(whole.cpu, 1) + left.memory / max(whole.memory, 1)


def _reason(pod: PodRequest, groups: Sequence[Group], nodes: Sequence[Node], noun: str) -> str:
    fitting = [group for group in groups if allowed(pod, group)]
    if not fitting:
        return f"no {noun} matches its labels and tolerations"
    if not any(group.offers.holds(pod.requests) for group in fitting):
        largest = max(fitting, key=lambda group: (group.offers.gpus, group.offers.memory, group.offers.cpu))
        return f"it requests {_lacking(largest.offers, pod)} on an empty {noun} of '{largest.name}'"
    if held := _bound_nodes(pod, nodes):
        return f"its volume is on the node of {pod.beside}, which is full: it requests {_lacking(held[0].free, pod)}"
    candidates = [node for node in nodes if allowed(pod, node.group)]
    names = ", ".join(f"'{group.name}'" for group in fitting)
    if not candidates:
        return f"{names} may have no {noun}s"
    best = min(candidates, key=lambda node: len(node.free.lacking(pod.requests)))
    full = f"the only {noun} of {names} is" if len(candidates) == 1 else f"all {len(candidates)} {noun}s of {names} are"
    return f"{full} full: it requests {_lacking(best.free, pod)}"


def _bound_nodes(pod: PodRequest, nodes: Sequence[Node]) -> list[Node]:
    """Returns the node that a pod is bound to; empty if it is bound to none."""
    return [node for node in nodes if pod.beside and any(other.name == pod.beside for other in node.pods)][:1]


def _lacking(free: Resources, pod: PodRequest) -> str:
    return " and ".join(free.lacking(pod.requests))


def place(pods: Sequence[PodRequest], groups: Sequence[Group], noun: str = "node") -> Placement:
    """Places the pods in the given order. `noun` names the nodes in reasons."""
    nodes = [Node(group, group.offers) for group in groups for _ in range(group.least)]
    pending = []
    for pod in pods:
        bound = _bound_nodes(pod, nodes)
        fitting = [node for node in bound or nodes if allowed(pod, node.group) and node.free.holds(pod.requests)]
        if fitting:
            max(fitting, key=lambda node: _free_share(node, pod)).take(pod)
            continue
        growing = [
            group
            for group in groups
            if not bound
            and allowed(pod, group)
            and group.offers.holds(pod.requests)
            and sum(node.group is group for node in nodes) < group.most
        ]
        if growing:
            node = Node(growing[0], growing[0].offers)
            node.take(pod)
            nodes.append(node)
        else:
            pending.append((pod, _reason(pod, groups, nodes, noun)))
    return Placement(tuple(nodes), tuple(pending))


def _size(pod: PodRequest) -> tuple[int, int, int]:
    return pod.requests.gpus, pod.requests.memory, pod.requests.cpu


ORDERS: tuple[Callable[[Sequence[PodRequest]], Sequence[PodRequest]], ...] = (
    lambda pods: pods,
    lambda pods: pods[::-1],
    lambda pods: sorted(pods, key=_size),
    lambda pods: sorted(pods, key=_size, reverse=True),
)
"""Orders in which pods may arrive: as created, after a restart, smallest first, largest first."""


def place_in_any_order(pods: Sequence[PodRequest], groups: Sequence[Group], noun: str = "node") -> Placement:
    """Places the pods in each of `ORDERS`, and returns the first placement with a Pending pod, else the first one."""
    placements = [place(order(pods), groups, noun) for order in ORDERS]
    return next((placement for placement in placements if placement.pending), placements[0])
