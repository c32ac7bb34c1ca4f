"""Placement of pods on nodes: what fits, what stays Pending, and why."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cluster_config import Toleration
from infra.nodes.pools import GPU_TAINT, Taint
from infra.nodes.resources import GIB, Resources, parse_quantity
from infra.nodes.scheduler import (
    ORDERS,
    Group,
    Placement,
    PodRequest,
    always_fit,
    place,
    place_in_any_order,
    round_robin,
)

NODE = Resources(cpu=4000, memory=16 * GIB, storage=100 * GIB)
GPU_NODE = Resources(cpu=4000, memory=16 * GIB, storage=100 * GIB, gpus=1)


def pod(name: str = "pod", cpu: int = 0, memory: int = 0, **more: int) -> PodRequest:
    return PodRequest(name, Resources(cpu=cpu, memory=memory * GIB, **more))


def reasons(placement: Placement) -> list[str]:
    return [reason for _, reason in placement.pending]


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", Decimal("0.5")), ("2", Decimal(2)), ("1.5Gi", Decimal(3 * 2**29)), ("4k", Decimal(4000)), ("1Mi", 2**20)],
)
def test_quantities_are_parsed(text: str, number: Decimal) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "-1", "1e3"])
def test_an_invalid_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


def test_fractions_are_rounded_up() -> None:
    assert Resources.parse("0.0005", "0.5") == Resources(cpu=1, memory=1)


def test_pods_spread_over_nodes() -> None:
    placement = place([pod("a", 1000), pod("b", 1000)], [Group("cpu", NODE, 2, 2)])
    assert [[p.name for p in node.pods] for node in placement.nodes] == [["a"], ["b"]]


def test_pods_stay_pending_on_full_nodes() -> None:
    placement = place([pod(f"p{i}", 2000) for i in range(8)], [Group("cpu", NODE, 2, 2)])
    assert len(placement.pending) == 4
    assert set(reasons(placement)) == {"all 2 nodes of 'cpu' are full: it requests 2 CPUs where 0 are free"}


def test_a_pod_larger_than_any_node_stays_pending() -> None:
    [reason] = reasons(place([pod(memory=64)], [Group("cpu", NODE, 1, 9)]))
    assert reason == "it requests 64.0 GiB of memory where 16.0 GiB are free on an empty node of 'cpu'"


def test_a_pool_that_may_grow_gets_a_node_and_one_that_may_not_gets_none() -> None:
    pods = [pod("a", 3000), pod("b", 3000)]
    grown = place(pods, [Group("cpu", NODE, 1, 2)])
    assert (len(grown.nodes), grown.pending) == (2, ())
    assert reasons(place(pods, [Group("cpu", NODE, 1, 1)])) == [
        "the only node of 'cpu' is full: it requests 3 CPUs where 1 are free"
    ]
    assert reasons(place(pods[:1], [Group("cpu", NODE, 0, 0)])) == ["'cpu' may have no nodes"]


def test_taints_keep_pods_away() -> None:
    tainted = Group("gpu", GPU_NODE, 1, 1, taints=(GPU_TAINT,))
    plain = pod("plain", 100)
    assert reasons(place([plain], [tainted])) == ["no node matches its labels and tolerations"]
    for toleration, tolerated in (
        (Toleration(key=GPU_TAINT.key), True),
        (Toleration(key=GPU_TAINT.key, operator="Equal", value="present"), True),
        (Toleration(key=GPU_TAINT.key, operator="Equal", value="other"), False),
        (Toleration(key=GPU_TAINT.key, effect="NoExecute"), False),
        (Toleration(key="other"), False),
    ):
        placement = place([PodRequest("gpu", Resources(gpus=1), tolerations=(toleration,))], [tainted])
        assert (not placement.pending) == tolerated, toleration
    preferred = Group("soft", NODE, 1, 1, taints=(Taint(key="a", effect="PreferNoSchedule"),))
    assert not place([plain], [preferred]).pending
    others = place([pod(f"p{i}", 1500) for i in range(3)], [preferred, Group("cpu", NODE, 1, 1)])
    assert [[p.name for p in node.pods] for node in others.nodes] == [["p2"], ["p0", "p1"]]


def test_selectors_choose_nodes() -> None:
    groups = [Group("a", NODE, 1, 1, {"pool": "a"}), Group("b", NODE, 1, 1, {"pool": "b"})]
    placement = place([PodRequest("p", Resources(100), {"pool": "b"})], groups)
    assert [len(node.pods) for node in placement.nodes] == [0, 1]


def test_labels_of_clouds_may_be_there() -> None:
    group = Group("a", NODE, 1, 1, {"kubernetes.io/arch": "amd64"})
    for key, value, may_run in (
        ("kubernetes.io/arch", "amd64", True),
        ("kubernetes.io/arch", "arm64", False),
        ("nvidia.com/gpu.product", "NVIDIA-L4", True),
        ("cloud.google.com/gke-spot", "true", True),
        ("tier", "a", False),
        ("mykubernetes.io/tier", "a", False),
    ):
        placement = place([PodRequest("p", Resources(100), {key: value})], [group])
        assert (not placement.pending) == may_run, key


def test_a_kubelet_runs_only_so_many_pods() -> None:
    group = Group("cpu", replace(NODE, pods=2), 1, 1)
    [reason] = reasons(place([pod(f"p{i}", pods=1) for i in range(3)], [group]))
    assert reason == "the only node of 'cpu' is full: it requests a further pod where the kubelet runs no more"


def test_gpus_and_disk_are_counted() -> None:
    groups = [Group("gpu", GPU_NODE, 1, 1)]
    both = [PodRequest("a", Resources(gpus=1)), PodRequest("b", Resources(gpus=1))]
    assert reasons(place(both, groups)) == ["the only node of 'gpu' is full: it requests 1 GPU where 0 are free"]
    [reason] = reasons(place([PodRequest("big", Resources(storage=141 * GIB))], groups))
    assert reason.startswith("it requests 141.0 GiB of disk where 100.0 GiB are free")


def test_an_order_that_wastes_room_is_found() -> None:
    """In their own order the small pods spread, and no node is left for the large one."""
    pods = [pod("large", 4000), pod("s1", 1000), pod("s2", 1000)]
    groups = [Group("cpu", NODE, 2, 2)]
    assert not place(pods, groups).pending
    assert [p.name for p, _ in place_in_any_order(pods, groups).pending] == ["large"]


def test_replicas_take_turns() -> None:
    """Ray takes the next pod in a circle that has room, not the emptiest one."""
    pods = [pod("a", 3000), pod("b", 1000), pod("c", 1000)]
    placement = place(pods, [Group("pool", NODE, 2, 2)], "pod", round_robin())
    assert [[p.name for p in node.pods] for node in placement.nodes] == [["a", "c"], ["b"]]
    emptiest = place(pods, [Group("cpu", NODE, 2, 2)])
    assert [[p.name for p in node.pods] for node in emptiest.nodes] == [["a"], ["b", "c"]]


def test_pods_always_fit_only_if_every_placement_does() -> None:
    two = [Group("cpu", NODE, 1, 2)]
    assert always_fit([pod(f"p{i}", 1000) for i in range(5)], two)
    assert not always_fit([pod(f"p{i}", 1000) for i in range(9)], two)
    assert not always_fit([pod("large", 4000), pod("s1", 1000), pod("s2", 1000)], two)
    assert not always_fit([PodRequest("p", Resources(100), {"tier": "a"})], two)


AMOUNTS = st.builds(Resources, st.integers(0, 4000), st.integers(0, 16 * GIB), st.just(0), st.integers(0, 1))


@given(st.lists(AMOUNTS, max_size=6), st.integers(0, 3), st.integers(0, 2))
def test_no_node_holds_more_than_it_offers_and_no_pod_is_lost(
    requests: list[Resources], least: int, further: int
) -> None:
    pods = [PodRequest(f"p{i}", wanted) for i, wanted in enumerate(requests)]
    placement = place_in_any_order(pods, [Group("g", GPU_NODE, least, least + further)])
    assert len(placement.nodes) <= least + further
    for node in placement.nodes:
        assert GPU_NODE.holds(sum((p.requests for p in node.pods), Resources()))
    placed = [p.name for node in placement.nodes for p in node.pods]
    assert sorted([*placed, *(p.name for p, _ in placement.pending)]) == [p.name for p in pods]


@given(st.lists(AMOUNTS, max_size=6), st.integers(1, 3), st.randoms(use_true_random=False))
def test_pods_that_always_fit_are_never_pending(requests: list[Resources], nodes: int, chance: Random) -> None:
    pods = [PodRequest(f"p{i}", wanted) for i, wanted in enumerate(requests)]
    group = Group("g", GPU_NODE, 0, nodes)
    if always_fit(pods, [group]):
        anywhere = place(pods, [group], choose=lambda _pod, fitting, _nodes: chance.choice(fitting))
        assert not anywhere.pending


@given(st.lists(AMOUNTS, min_size=1, max_size=4))
def test_pods_stay_pending_only_if_they_exceed_the_node(requests: list[Resources]) -> None:
    """On one node the order does not matter: the sum decides."""
    pods = [PodRequest(f"p{i}", wanted) for i, wanted in enumerate(requests)]
    fits = GPU_NODE.holds(sum(requests, Resources()))
    for order in permutations(pods):
        assert (not place(list(order), [Group("g", GPU_NODE, 1, 1)]).pending) == fits


def test_a_pod_stays_on_the_node_of_the_volume_that_it_shares() -> None:
    head, other = pod("head", 1000), pod("other", 2500)
    new = replace(pod("new", 1000), beside="head")
    placement = place([head, new], [Group("cpu", NODE, 2, 2)])
    assert [[p.name for p in node.pods] for node in placement.nodes] == [["head", "new"], []]
    assert reasons(place([head, other, new], [Group("cpu", NODE, 1, 9)])) == [
        "its volume is on the node of head, which is full: it requests 1 CPUs where 0.5 are free"
    ]


def test_a_further_node_is_compared_with_waiting_pods_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacks have up to a thousand nodes, and the program of a stack places its pods each time that it runs."""
    compared = 0
    holds = Resources.holds

    def counted(free: Resources, wanted: Resources) -> bool:
        nonlocal compared
        compared += 1
        return holds(free, wanted)

    monkeypatch.setattr(Resources, "holds", counted)
    many = 60
    found = place([pod(f"{i}", cpu=3000) for i in range(many)], [Group("pool", NODE, 1, many)])
    assert len(found.nodes) == many
    assert compared < many**2


def test_pods_of_the_system_come_first_in_every_order() -> None:
    """They displace others; coming last, this one would find no empty node."""
    others = [pod("a", cpu=2000), pod("b", cpu=2000)]
    system = pod("system", cpu=4000)
    groups = [Group("pool", NODE, 2, 2)]
    assert not place_in_any_order([replace(system, critical=True), *others], groups).pending
    assert [p.name for p, _ in place_in_any_order([system, *others], groups).pending] == ["system"]


def test_orders_are_tried_by_chance_too() -> None:
    """These three fit as created, backwards, by size and backwards by size; if the third comes first, not always."""
    pods = [pod("a", 2000), pod("b", 5000, 2), pod("c", 3000, 4)]
    groups = [Group("pool", Resources(cpu=6000, memory=6 * GIB), 2, 2)]
    for order in ORDERS:
        assert not place(order(pods), groups).pending
    assert place_in_any_order(pods, groups).pending
