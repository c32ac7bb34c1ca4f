"""Placement of pods on nodes: what fits, what stays Pending, and why."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cluster_config import Toleration
from infra.gpu.pools import GPU_TAINT, Taint
from infra.scheduling.resources import GIB, Resources, parse_quantity
from infra.scheduling.scheduler import Group, Placement, PodRequest, place, place_in_any_order

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
def test_quantities(text: str, number: Decimal) -> None:
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


def test_eight_pods_of_two_cpus_on_two_nodes_of_four() -> None:
    placement = place([pod(f"p{i}", 2000) for i in range(8)], [Group("cpu", NODE, 2, 2)])
    assert len(placement.pending) == 4
    assert set(reasons(placement)) == {"all 2 nodes of 'cpu' are full: it requests 2 CPUs where 0 are free"}


def test_a_pod_larger_than_any_node() -> None:
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


def test_selectors_choose_nodes() -> None:
    groups = [Group("a", NODE, 1, 1, {"pool": "a"}), Group("b", NODE, 1, 1, {"pool": "b"})]
    placement = place([PodRequest("p", Resources(100), {"pool": "b"})], groups)
    assert [len(node.pods) for node in placement.nodes] == [0, 1]


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
