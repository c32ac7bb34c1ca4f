"""Simulates kube-scheduler and a cluster autoscaler: places pods on nodes one after the other.

Of the nodes that a pod's selector and tolerations allow and that have enough resources, it gets the one with the
largest share of CPU and memory free (kube-scheduler's default, NodeResourcesFit with LeastAllocated). If there is none,
a node is added to a pool that may grow. Ray's replicas are placed likewise, with another choice of the node.

The order in which pods arrive is unpredictable, and so is which pool an autoscaler enlarges. What has room however the
others are placed needs no simulation; otherwise, several orders are tried.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from infra.cluster_config import Toleration
from infra.nodes.pools import Taint
from infra.nodes.resources import Resources


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
    critical: bool = False
    """Whether its priority puts it before all others, which make room for it."""


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


SET_BY_OTHERS = (
    *("kubernetes.io", "k8s.io", "nvidia.com"),
    *("cloud.google.com", "amazonaws.com", "azure.com", "karpenter.sh"),
)
"""Domains of labels that clouds and feature discovery set."""


def _has_label(group: Group, key: str, value: str) -> bool:
    """Returns whether a group's nodes have a label, or may have it: not every label of a cloud is known before."""
    domain = f".{key.rpartition('/')[0]}"
    unknown = key not in group.labels and any(domain.endswith(f".{known}") for known in SET_BY_OTHERS)
    return unknown or group.labels.get(key) == value


def allowed(pod: PodRequest, group: Group) -> bool:
    """Returns whether a pod may run on the nodes of a group, regardless of free resources."""
    return all(_has_label(group, key, value) for key, value in pod.selector.items()) and all(
        taint.effect == "PreferNoSchedule" or any(_tolerates(t, taint) for t in pod.tolerations)
        for taint in group.taints
    )


def _disliked(group: Group, pod: PodRequest) -> int:
    """Returns how many taints of a group keep the pod away if it has room elsewhere."""
    soft = [taint for taint in group.taints if taint.effect == "PreferNoSchedule"]
    return sum(not any(_tolerates(t, taint) for t in pod.tolerations) for taint in soft)


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


Choice = Callable[[PodRequest, Sequence[Node], Sequence[Node]], Node]
"""Which of the nodes that a pod fits it gets; the last argument are all nodes."""


def least_allocated(pod: PodRequest, fitting: Sequence[Node], _: Sequence[Node]) -> Node:
    """Chooses as kube-scheduler does, for which taints with PreferNoSchedule count more than what is free."""
    return max(fitting, key=lambda node: (-_disliked(node.group, pod), _free_share(node, pod)))


def round_robin() -> Choice:
    """Chooses as Ray does with SPREAD, as Serve asks: the next one in a circle."""
    last = -1

    def choose(_: PodRequest, fitting: Sequence[Node], nodes: Sequence[Node]) -> Node:
        nonlocal last
        at = {id(node): (i - last - 1) % len(nodes) for i, node in enumerate(nodes)}
        chosen = min(fitting, key=lambda node: at[id(node)])
        last = next(i for i, node in enumerate(nodes) if node is chosen)
        return chosen

    return choose


def place(
    pods: Sequence[PodRequest],
    groups: Sequence[Group],
    noun: str = "node",
    choose: Choice = least_allocated,
    chance: random.Random | None = None,
) -> Placement:
    """Places the pods in the given order. `noun` names the nodes in reasons.

    An autoscaler takes longer for a node than the scheduler for all pods: pods for which no node has room wait until
    the others are placed. Of several groups that may grow, the first gets a node, or one by `chance`.
    """
    nodes = [Node(group, group.offers) for group in groups for _ in range(group.least)]
    waiting = _place_on(nodes, pods, groups, nodes, choose)
    while (group := _growing(waiting, groups, nodes, chance)) is not None:
        nodes.append(Node(group, group.offers))
        # The others have no more room than before.
        waiting = _place_on(nodes[-1:], waiting, groups, nodes, choose)
    return Placement(tuple(nodes), tuple((pod, _reason(pod, groups, nodes, noun)) for pod in waiting))


def _place_on(
    some: Sequence[Node], pods: Sequence[PodRequest], groups: Sequence[Group], nodes: Sequence[Node], choose: Choice
) -> list[PodRequest]:
    """Places pods on some of the nodes, and returns those that none of them has room for."""
    waiting = []
    for pod in pods:
        admitting = {id(group) for group in groups if allowed(pod, group)}
        candidates = _bound_nodes(pod, nodes) or some
        fitting = [node for node in candidates if id(node.group) in admitting and node.free.holds(pod.requests)]
        if fitting:
            choose(pod, fitting, nodes).take(pod)
        else:
            waiting.append(pod)
    return waiting


def _growing(
    waiting: Sequence[PodRequest], groups: Sequence[Group], nodes: Sequence[Node], chance: random.Random | None
) -> Group | None:
    """Returns a group in which a further node has room for the first pod that any has room for."""
    smaller = [group for group in groups if sum(node.group is group for node in nodes) < group.most]
    for pod in waiting:
        if _bound_nodes(pod, nodes):
            continue
        if fitting := [group for group in smaller if allowed(pod, group) and group.offers.holds(pod.requests)]:
            return chance.choice(fitting) if chance else fitting[0]
    return None


def _size(pod: PodRequest) -> tuple[int, int, int]:
    return pod.requests.gpus, pod.requests.memory, pod.requests.cpu


ORDERS: tuple[Callable[[Sequence[PodRequest]], Sequence[PodRequest]], ...] = (
    lambda pods: pods,
    lambda pods: pods[::-1],
    lambda pods: sorted(pods, key=_size),
    lambda pods: sorted(pods, key=_size, reverse=True),
)
"""Orders in which pods may arrive: as created, after a restart, smallest first, largest first."""


SHUFFLES = 12
"""Number of random orders that are tried besides; always the same ones."""


def place_in_any_order(
    pods: Sequence[PodRequest],
    groups: Sequence[Group],
    noun: str = "node",
    choice: Callable[[], Choice] = lambda: least_allocated,
) -> Placement:
    """Places the pods in several orders, and returns the first placement with a Pending pod, else the first one."""
    first = place(pods, groups, noun, choice())
    if first.pending or always_fit(pods, groups):
        return first
    return next((other for other in _placements(pods, groups, noun, choice) if other.pending), first)


def _placements(
    pods: Sequence[PodRequest], groups: Sequence[Group], noun: str, choice: Callable[[], Choice]
) -> Iterator[Placement]:
    first, others = [pod for pod in pods if pod.critical], [pod for pod in pods if not pod.critical]
    for order in ORDERS:
        yield place([*first, *order(others)], groups, noun, choice())
    for seed in range(SHUFFLES):
        chance = random.Random(seed)  # noqa: S311 (for the same orders each time)
        yield place([*first, *chance.sample(others, len(others))], groups, noun, choice(), chance)


def always_fit(pods: Sequence[PodRequest], groups: Sequence[Group]) -> bool:
    """Returns whether each pod has room however the others are placed; False also if that is unknown.

    A node has no room for a pod if others use more than the rest of one of its resources. Of all that others request of
    a resource, only so many nodes can be made full; if these numbers together are less than the nodes, one has room.
    """
    kinds = {(pod.requests, tuple(pod.selector.items()), pod.tolerations): pod for pod in pods}
    return all(_always_fits(pod, pods, groups) for pod in kinds.values())


def _always_fits(pod: PodRequest, pods: Sequence[PodRequest], groups: Sequence[Group]) -> bool:
    usable = [group for group in groups if allowed(pod, group) and group.offers.holds(pod.requests)]
    beside = [other for other in pods if any(allowed(other, group) for group in usable)]
    used = sum((other.requests for other in beside), Resources()) - pod.requests
    full = 0
    for i, left in enumerate(used.amounts):
        for rest, number in sorted((group.offers.amounts[i] - pod.requests.amounts[i], group.most) for group in usable):
            fillable = min(number, left // (rest + 1))
            full += fillable
            left -= fillable * (rest + 1)
    return full < sum(group.most for group in usable)
