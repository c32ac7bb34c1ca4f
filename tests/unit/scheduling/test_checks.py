"""Replicas, pods and weights of whole configurations: what would stay Pending is a mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from infra import chart
from infra.cluster_config import MOUNTED_SECRETS
from infra.config import StackConfig
from infra.config_loader import load
from infra.gpu.placement import cloud_rules, place
from infra.nodes.machines import machine_type
from infra.nodes.resources import GIB, MIB
from infra.scheduling import checks, starts, workload
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


def test_two_models_on_one_gpu_are_a_mistake() -> None:
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


def test_a_pod_with_more_memory_than_its_nodes_is_a_mistake() -> None:
    found = mistakes(TWO_CPU, L4, pods=[SERVING, {**GPU_POOL, "memory": "64Gi"}], models=[LLAMA])
    assert found["pools[1]"].startswith("worker 1 of pool 'gpu' stays Pending: it requests 64.1 GiB of memory where")


def test_more_workers_than_nodes_hold_are_a_mistake() -> None:
    found = mistakes(TWO_CPU, pods=[{**SERVING, "replicas": 8}], models=[])
    assert "stays Pending: all 2 nodes of 'cpu' are full" in found["pools[0]"]


def test_weights_that_the_disk_has_no_room_for() -> None:
    """14 billion weights fit the GPU in 4 bits, but may come as 28 GB of files."""
    large = {**LLAMA, "quantization": "awq", "geometry": {**GEOMETRY, "parameters": 14_000_000_000}}
    found = mistakes(TWO_CPU, {**L4, "disk_gib": 30}, pods=[SERVING, GPU_POOL], models=[large])
    assert "GiB of disk where" in found["pools[1]"]
    assert mistakes(TWO_CPU, {**L4, "disk_gib": 400}, pods=[SERVING, GPU_POOL], models=[large]) == {}


LARGE = {**LLAMA, "cpus": 4, "tensor_parallel": 8, "context": 8192}
LARGE["geometry"] = {"parameters": 70_553_706_496, "layers": 80, "kv_heads": 8, "head_dim": 128}
LARGE_POOL = {"name": "gpu", "node_pool": "large", "cpus": 16, "memory": "64Gi", "gpus": 8}


def large_stack(target: str, nodes: dict[str, Any], **pool: Any) -> StackConfig:
    """A model of 70B on eight GPUs of one node."""
    settings = {
        "node_pools": [{**TWO_CPU, "zones": []}, {"name": "large", "gpus": 8, **nodes}],
        "pools": [SERVING, {**LARGE_POOL, **pool}],
        "models": [LARGE],
        "assistants": [],
        "knowledge": [],
    }
    base = config(target=target).model_dump(mode="json", exclude_unset=True)
    return StackConfig.model_validate(base | settings)


@pytest.mark.parametrize(
    ("target", "nodes", "line"),
    [
        (
            "gcp",
            {"accelerator": "h100-80gb"},
            "large: 200 GiB; pods use 16 local SSDs, 6,000 GiB; weights 131.4 GiB, images about 18 GiB",
        ),
        ("gcp", {"accelerator": "l4"}, "large: 350 GiB; weights 131.4 GiB, images about 18 GiB"),
        (
            "aws",
            {"accelerator": "h100-80gb"},
            "large: 200 GiB, 125 MiB/s, 3,000 IOPS; pods use 8 local SSDs, 28,610 GiB; weights 131.4 GiB, "
            "images about 18 GiB",
        ),
        (
            "aws",
            {"accelerator": "l4"},
            "large: 250 GiB, 449 MiB/s, 3,000 IOPS; weights 131.4 GiB, images about 18 GiB",
        ),
        ("azure", {"accelerator": "a100-80gb"}, "large: 250 GiB; weights 131.4 GiB, images about 18 GiB"),
    ],
)
def test_the_default_disk_has_room_for_a_model_of_70b(target: str, nodes: dict[str, Any], line: str) -> None:
    settings = large_stack(target, nodes)
    assert checks.mistakes(settings) == []
    assert f"  {line}" in list(checks.lines(settings))


def test_a_folder_of_each_node_is_on_the_root_disk() -> None:
    """Twice the weights and a tenth more, 290 GiB, beside the 200 of a node whose pods use local SSDs."""
    folder = large_stack("aws", {"accelerator": "h100-80gb"}, weights={"kind": "node"})
    [_, nodes] = place(folder).node_pools
    assert (nodes.disk_gib, nodes.disk_throughput, nodes.disk_iops) == (519, 449, 3000)


def test_settings_of_a_disk_replace_what_follows_from_the_weights() -> None:
    own = {"accelerator": "l4", "disk_gib": 900, "disk_iops": 8000, "disk_throughput": 250}
    [_, nodes] = place(large_stack("aws", own)).node_pools
    assert (nodes.disk_gib, nodes.disk_throughput, nodes.disk_iops) == (900, 250, 8000)
    [_, nodes] = place(large_stack("aws", {"accelerator": "l4", "disk_throughput": 1000})).node_pools
    assert (nodes.disk_throughput, nodes.disk_iops) == (1000, 4000)


def test_images_need_room_beside_the_weights() -> None:
    """16 GB of weights: the pod requests 21 GiB of the 26 that a disk of 30 leaves, which hold no image of vLLM."""
    found = mistakes(TWO_CPU, {**L4, "disk_gib": 30}, pods=[SERVING, GPU_POOL], models=[LLAMA])
    assert found == {
        "node_pools[1].disk_gib": "30 GiB leave 26.0 GiB to pods, but images take about 18 GiB"
        " and the pods store 21 GiB"
    }
    assert mistakes(TWO_CPU, {**L4, "disk_gib": 60}, pods=[SERVING, GPU_POOL], models=[LLAMA]) == {}


def test_the_plan_says_how_long_starts_may_take() -> None:
    said = list(checks.lines(large_stack("aws", {"accelerator": "l4"})))
    assert "  llama: weights 131.4 GiB; answers within 3,146 s of vLLM's start" in said
    assert "  up waits 6,292 s for the stack, and 1,831 s for its database" in said


def test_the_disk_bounds_a_start_whose_weights_are_unknown() -> None:
    unknown = {key: value for key, value in LLAMA.items() if key != "geometry"}
    sized = stack(TWO_CPU, L4, pods=[SERVING, {**GPU_POOL, "temporary_storage": "100Gi"}], models=[unknown])
    assert starts.ready_seconds(sized) == 1800 + 1024 + 1800 + 1024
    own = sized.model_copy(update={"models": (sized.models[0].model_copy(update={"start_timeout_s": 60}),)})
    assert starts.ready_seconds(own) == 1800 + 1024 + 60


def test_the_migration_has_the_deadline_of_its_image() -> None:
    settings = stack(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[LLAMA])
    assert chart.values(settings, "s", Path(), {})["migrate"] == {"deadlineSeconds": 1831}


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
    assert workers["pools[1]"].requests == workload.Resources(3010, 10 * GIB + exporter, 0, 1, 1)
    assert {t.key for t in workers["pools[1]"].tolerations} >= {"nvidia.com/gpu"}


def test_a_small_worker_requests_what_waiting_for_the_head_takes() -> None:
    """KubeRay's init container requests 200m and 256Mi, and runs beside the exporter."""
    tiny = {**SERVING, "cpus": 0.1, "memory": "128Mi"}
    [_, worker] = workload.ray_cluster(place(stack(TWO_CPU, pods=[tiny], models=[])), most=True)
    assert (worker.requests.cpu, worker.requests.memory) == (210, 320 * MIB)


KSERVE = {
    "engine": "kserve",
    "name": "service",
    "file": "m.gguf",
    "storage": "s3://b/m",
    "pool": "gpu",
    "gpus": 1,
    "scaling": {"min_replicas": 1, "max_replicas": 2},
    "cpus": 0.05,
    "memory_bytes": 64 * MIB,
}


def test_pods_of_addons_and_jobs_are_counted() -> None:
    settings = stack(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[KSERVE]).model_dump(mode="json", exclude_unset=True)
    settings["knowledge"] = [{"name": "docs", "paths": ["README.md"]}]
    settings["backup"] = {"claim": "backups"}
    settings["ingress"] = {"kind": "gateway", "host": "a.example.com", "tls": {"secret": "tls"}}
    placed = place(StackConfig.model_validate(settings))
    pods = {pod.name: pod for pod in workload.pods(placed, "aws")}
    assert {"Alertmanager", "Envoy", "node feature discovery", "KServe's controller"} <= set(pods)
    assert {"a backup", "the ingestion of 'docs'", workload.MIGRATION} <= set(pods)
    # KServe's container that fetches the weights requests 100m and 100Mi.
    assert pods["pod 2 of 'service'"].requests == workload.Resources(100, 100 * MIB, gpus=1, pods=1)
    assert pods["pod 2 of 'service'"].selector == {"headrace.io/node-pool": "l4"}
    after = {pod.name for pod in workload.after_jobs(placed, "aws")}
    assert set(pods) - after == {"a backup", "the ingestion of 'docs'", workload.MIGRATION}
    without = place(stack(TWO_CPU, L4, pods=[SERVING], models=[]))
    [_, gpu], [_, alone] = (workload.groups(each, "aws") or () for each in (placed, without))
    assert alone.offers - gpu.offers == workload.Resources(5, 64 * MIB, pods=1)  # node features, on each node


def test_replicas_are_counted_as_ray_and_serve_do() -> None:
    """A pod of 1.5 CPUs has two for Ray; an autoscaled model starts with its minimum."""
    model = {"engine": "llamacpp", "name": "m", "source": "package://a/b", "pool": "serving", "cpus": 0.25}
    small = {**SERVING, "cpus": 1.5, "replicas": 2}
    scaled = {**model, "autoscaling": {"min_replicas": 4, "max_replicas": 8}}
    parts = {"gateway": {"replicas": 1, "cpus": 0.5}, "retrieval": {"replicas": 1, "cpus": 0.5}}
    settings = stack(TWO_CPU, pods=[small], models=[scaled]).model_dump(mode="json", exclude_unset=True) | parts
    assert checks.mistakes(StackConfig.model_validate(settings)) == []
    settings["models"][0]["autoscaling"]["min_replicas"] = 8
    [mistake] = checks.mistakes(StackConfig.model_validate(settings))
    assert mistake.key == "models[0]"


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
    head, surge, in_place = lines[-3:]
    # EKS' node groups do not grow by themselves, as docs/how-to/aws.md says.
    if stack == "aws":
        assert head == "An upgrade of pods is in_place (there is no room for a surge):"
        assert surge.startswith("  surge     does not finish: ")
    else:
        assert head == "An upgrade of pods is surge (there is room for a surge):"
        assert re.fullmatch(r"  surge .* further nodes: 2 of 'cpu', 1 of 'gpu', \d+\.\d\d USD per hour", surge)
    assert in_place.startswith("  in_place  needs no further nodes")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, "NewCluster"), ({"upgrade": "in_place"}, "None"), ({"most": 1}, "None")],
)
def test_an_upgrade_is_in_place_without_room_for_a_surge(settings: dict[str, Any], expected: str) -> None:
    raw = plan.settings("gcp") | {"knowledge": [], "upgrade": settings.get("upgrade", "auto")}
    for pool in raw["node_pools"]:
        pool["max_nodes"] = settings.get("most", pool["max_nodes"]) if pool.get("gpus") else pool["max_nodes"]
    found = load(raw, frozenset(raw), MOUNTED_SECRETS).config
    assert chart.values(found, "s", Path(), {})["upgradeStrategy"] == expected
    forced = found.model_copy(update={"upgrade": "surge"})
    assert chart.values(forced, "s", Path(), {})["upgradeStrategy"] == "NewCluster"


@pytest.mark.parametrize(("mode", "most"), [("node_groups", 1), ("auto", 4)])
def test_pools_grow_where_an_autoscaler_scales_them(mode: str, most: int) -> None:
    settings = place(stack({"name": "cpu", "min_nodes": 1, "max_nodes": 4}, pods=[SERVING], models=[]))
    settings = settings.model_copy(update={"aws": settings.aws.model_copy(update={"mode": mode})})
    assert [group.most for group in workload.groups(settings, "aws") or ()] == [most]


def pool_values(weights: dict[str, Any], **llama: Any) -> dict[str, Any]:
    settings = stack(TWO_CPU, L4, pods=[SERVING, {**GPU_POOL, "weights": weights}], models=[{**LLAMA, **llama}])
    return chart.values(settings, "s", Path(), {})["pools"]["gpu"]


def test_weights_have_a_volume_of_the_pool() -> None:
    """Pods that share it have room for a new version beside the old one."""
    pool = pool_values({"kind": "claim", "storage_class": "shared"})
    assert pool["weights"] == {
        "kind": "claim",
        "size": "33Gi",
        "storageClass": "shared",
        "accessMode": "ReadWriteMany",
    }
    assert "temporaryStorage" not in pool
    assert "ephemeral-storage" not in pool["resources"]["requests"]
    assert pool_values({"kind": "ephemeral"})["weights"] == {"kind": "ephemeral", "size": "17Gi", "storageClass": ""}
    assert pool_values({"kind": "node"})["weights"]["nodePath"] == "/var/lib/headrace/weights"
    assert pool_values({"kind": "claim", "claim": "mine"})["weights"] == {"kind": "claim", "existingClaim": "mine"}


def test_weights_that_their_volume_has_no_room_for() -> None:
    pods = [SERVING, {**GPU_POOL, "weights": {"kind": "claim", "size": "10Gi"}}]
    assert mistakes(TWO_CPU, L4, pods=pods, models=[LLAMA]) == {
        "pools[1].weights.size": "is 5.0 GiB less than the weights that its pods download"
    }
    unknown = {key: value for key, value in LLAMA.items() if key != "geometry"}
    pods = [SERVING, {**GPU_POOL, "weights": {"kind": "claim"}}]
    assert list(mistakes(TWO_CPU, L4, pods=pods, models=[unknown])) == ["models[0].geometry"]
    pods[1]["weights"]["claim"] = "mine"
    assert mistakes(TWO_CPU, L4, pods=pods, models=[unknown]) == {}


def test_streamed_weights_need_no_disk() -> None:
    streamed = {**LLAMA, "source": "s3://bucket/llama"}
    for more, size in (({}, None), ({"load": "fetch"}, "21Gi")):
        settings = stack(TWO_CPU, L4, pods=[SERVING, GPU_POOL], models=[streamed | more])
        assert chart.values(settings, "s", Path(), {})["pools"]["gpu"].get("temporaryStorage") == size


@pytest.mark.parametrize(
    ("weights", "mistake"),
    [
        ({"kind": "node", "storage_class": "x"}, "has storage_class, which applies to kind ephemeral or claim"),
        ({"kind": "ephemeral", "claim": "x"}, "has claim, which applies to kind claim"),
        ({"kind": "claim", "path": "/var/x"}, "has path, which applies to kind node"),
        ({"kind": "claim", "claim": "x", "size": "1Gi"}, "has a claim, which exists"),
        ({"kind": "node", "path": "/var/../etc"}, "has a path with"),
    ],
)
def test_settings_of_another_kind_of_volume_are_rejected(weights: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake):
        pool_values(weights)
