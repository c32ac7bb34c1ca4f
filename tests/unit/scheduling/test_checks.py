"""Replicas, pods and weights of whole configurations: what would stay Pending is a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra import chart
from infra.config import StackConfig
from infra.gpu.machines import machine_type
from infra.gpu.placement import cloud_rules, place
from infra.scheduling import checks, workload
from infra.scheduling.resources import GIB, MIB
from tests.unit.gpu.test_placement import L4, config
from tools import plan

GEOMETRY = {"parameters": 8_030_261_248, "layers": 32, "kv_heads": 8, "head_dim": 128}
LLAMA = {
    "engine": "vllm",
    "name": "llama",
    "source": "hf://org/llama",
    "pool": "gpu",
    "cpus": 1,
    "max_surge_percent": 0,
    "geometry": GEOMETRY,
}
SERVING = {"name": "serving", "node_pool": "cpu", "cpus": 2, "memory": "4Gi"}
GPU_POOL = {"name": "gpu", "node_pool": "l4", "cpus": 3, "memory": "10Gi", "gpus": 1}
TWO_CPU = {"name": "cpu", "min_nodes": 2, "max_nodes": 2}


def stack(*nodes: dict[str, Any], pods: list[dict[str, Any]], models: list[dict[str, Any]]) -> StackConfig:
    settings = {"node_pools": nodes, "pools": pods, "models": models, "assistants": [], "knowledge": []}
    return StackConfig.model_validate(config().model_dump(mode="json", exclude_unset=True) | settings)


def mistakes(*nodes: dict[str, Any], pods: list[dict[str, Any]], models: list[dict[str, Any]]) -> dict[str, str]:
    return {m.key: m.problem for m in checks.mistakes(stack(*nodes, pods=pods, models=models))}


def test_one_model_on_one_gpu_has_room() -> None:
    assert mistakes(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[LLAMA]) == {}


def test_two_models_on_one_gpu() -> None:
    second = {**LLAMA, "name": "second"}
    found = mistakes(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[LLAMA, second])
    assert found == {
        "models[1]": "replica 1 of 'second' does not fit: the only pod of 'gpu' is full:"
        " it requests 1 GPU where 0 are free"
    }


def test_an_update_that_needs_a_second_gpu() -> None:
    found = mistakes(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[{**LLAMA, "max_surge_percent": 100}])
    assert list(found) == ["models[0]"]
    assert found["models[0]"].startswith("an update starts an additional replica, which does not fit")


def test_replicas_that_pods_are_too_small_for() -> None:
    """Four CPUs in all, but a replica of three finds two in each pod."""
    model = {**LLAMA, "engine": "llamacpp", "name": "m", "source": "package://a/b", "pool": "serving", "cpus": 1.5}
    for key in ("geometry", "max_surge_percent"):
        model.pop(key)
    found = mistakes(TWO_CPU, pods=[{**SERVING, "cpus": 2, "replicas": 3}], models=[model | {"cpus": 2.5}])
    assert "on an empty pod of 'serving'" in found["models[0]"]


def test_a_pod_with_more_memory_than_its_nodes() -> None:
    found = mistakes(TWO_CPU, L4, pods=[SERVING, {**GPU_POOL, "memory": "64Gi"}], models=[LLAMA])
    assert found["pools[1]"].startswith("worker 1 of pool 'gpu' stays Pending: it requests 64.1 GiB of memory where")


def test_eight_workers_of_two_cpus_on_two_nodes_of_four() -> None:
    found = mistakes(TWO_CPU, pods=[{**SERVING, "replicas": 8}], models=[])
    assert "stays Pending: all 2 nodes of 'cpu' are full" in found["pools[0]"]


def test_weights_that_the_disk_has_no_room_for() -> None:
    """14 billion weights fit the GPU in 4 bits, but may come as 28 GB of files."""
    large = {**LLAMA, "quantization": "awq", "geometry": {**GEOMETRY, "parameters": 14_000_000_000}}
    found = mistakes(TWO_CPU, {**L4, "disk_gib": 30}, pods=[SERVING, GPU_POOL], models=[large])
    assert "GiB of disk where" in found["pools[1]"]
    assert mistakes(TWO_CPU, {**L4, "disk_gib": 400}, pods=[SERVING, GPU_POOL], models=[large]) == {}


def test_weights_of_unknown_size_need_a_size_of_the_disk() -> None:
    unknown = {key: value for key, value in LLAMA.items() if key != "geometry"}
    assert list(mistakes(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[unknown])) == ["models[0].geometry"]
    sized = {**GPU_POOL, "temporary_storage": "40Gi"}
    assert mistakes(TWO_CPU, L4, pods=[SERVING, sized], models=[unknown]) == {}
    assert "weights that its pods download" in next(
        iter(mistakes(TWO_CPU, L4, pods=[SERVING, {**GPU_POOL, "temporary_storage": "8Gi"}], models=[LLAMA]).values())
    )


def test_pods_request_the_disk_for_their_weights() -> None:
    """16.06 GB of weights, a tenth more, and 4 GiB for the rest: 20.5, rounded up."""
    pools = chart.values(stack(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[LLAMA]), "s", Path(), {})["pools"]
    assert pools["gpu"]["temporaryStorage"] == "21Gi"
    assert pools["gpu"]["resources"]["requests"]["ephemeral-storage"] == "21Gi"
    assert "temporaryStorage" not in pools["serving"]


def test_workers_request_the_resources_of_the_chart() -> None:
    settings = place(stack(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[]))
    workers = {pod.key: pod for pod in workload.ray_cluster(settings, most=True)[1:]}
    exporter = 64 * MIB
    assert workers["pools[1]"].requests == workload.Resources(3010, 10 * GIB + exporter, 0, 1)
    assert {t.key for t in workers["pools[1]"].tolerations} >= {"nvidia.com/gpu"}


@pytest.mark.parametrize(
    ("cloud", "name", "disk", "published"),
    [
        # The example of GKE's documentation ("Check node allocatable resources"): 3920m, 13498416Ki, 47060071478 B.
        ("gcp", "e2-standard-4", 100, (3920, 13_498_416 * 1024, 47_060_071_478)),
    ],
)
def test_allocatable_is_what_the_cloud_publishes(
    cloud: Any, name: str, disk: int, published: tuple[int, int, int]
) -> None:
    machine = machine_type(cloud, name)
    assert machine is not None
    found = cloud_rules(cloud).allocatable(machine, disk)
    assert found.cpu == published[0]
    for ours, theirs in ((found.memory, published[1]), (found.storage, published[2])):
        assert 0.99 * theirs <= ours <= theirs


@pytest.mark.parametrize("stack", ["aws", "gcp", "azure"])
def test_the_examples_have_room_for_their_pods_and_for_an_upgrade(stack: str) -> None:
    lines = plan.plan(stack).splitlines()
    assert any("worker 1 of pool 'gpu'" in line for line in lines)
    upgrade = [line for line in lines if line.startswith("An upgrade of pods ")]
    assert len(upgrade) == 1
    # EKS' node groups do not grow by themselves, as docs/how-to/aws.md says.
    assert ("does not finish" in upgrade[0]) == (stack == "aws")


@pytest.mark.parametrize(("mode", "most"), [("node_groups", 1), ("auto", 4)])
def test_pools_grow_where_an_autoscaler_scales_them(mode: str, most: int) -> None:
    settings = place(stack({"name": "cpu", "min_nodes": 1, "max_nodes": 4}, pods=[SERVING], models=[]))
    settings = settings.model_copy(update={"aws": settings.aws.model_copy(update={"mode": mode})})
    assert [group.most for group in workload.groups(settings, "aws") or ()] == [most]
