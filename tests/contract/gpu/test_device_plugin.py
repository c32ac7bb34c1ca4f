"""NVIDIA's device plugin, unmodified, advertises on each kind of node what the stack's plans count with."""

from __future__ import annotations

import re
from collections.abc import Sequence

import grpc
import pytest

from infra.config import StackConfig
from infra.gpu import placement
from infra.nodes.accelerators import MIB, Slice, accelerator_by_key
from tests.contract.gpu.conftest import Joins, Plugs, pool_named
from tests.nvidia import stacks
from tests.nvidia.chart import Release
from tests.nvidia.gpus import H100, L4, V100, Gpu, catalogued, sliced
from tests.nvidia.node import OURS, Node

GPU = "nvidia.com/gpu"
A100 = catalogued("a100-80gb-pcie")
SLICES = sliced(A100, *[Slice("1g.10gb", 7, 9_728)] * 7)

NODES = [
    pytest.param(stacks.AWS, "default", [L4] * 4, id="whole"),
    pytest.param(stacks.AWS, "sliced", [L4] * 4, id="time_slicing"),
    pytest.param(stacks.AZURE, "slices", [SLICES], id="mig"),
]


def daemon_starts(gpu_node: Node, installed: Release) -> None:
    """The device plugin waits for MPS' daemon, of which only the control program is a stand-in."""
    environment = installed.environment("mps-control-daemon-ctr")
    with gpu_node.start("mps-control-daemon", environment=environment) as process:
        assert process.stdout
        assert any("Starting log tailer" in line for line in process.stdout)


@pytest.mark.parametrize(("config", "pool", "present"), NODES)
def test_a_node_offers_what_plans_count_with(
    config: StackConfig, pool: str, present: Sequence[Gpu], joins: Joins, plugs: Plugs
) -> None:
    expected = placement.gpus_per_node(pool_named(config, pool))
    with plugs(joins(config, pool, present)) as kubelet:
        assert set(kubelet.devices(GPU).values()) == {"Healthy"}
        assert kubelet.resources == {GPU: expected}


def test_a_cluster_of_ones_own_may_name_slices_by_their_profile(joins: Joins, plugs: Plugs) -> None:
    """What `gpuResource` of the chart's pools is for."""
    mixed = sliced(H100, Slice("1g.10gb", 7, 9_984), Slice("1g.10gb", 7, 9_984), Slice("2g.20gb", 3, 20_096))
    with plugs(joins(stacks.ONPREM, "gpu", [mixed, H100]), MIG_STRATEGY="mixed") as kubelet:
        kubelet.devices("nvidia.com/mig-1g.10gb", lambda devices: len(devices) == 2)
        kubelet.devices("nvidia.com/mig-2g.20gb", lambda devices: len(devices) == 1)
        assert list(kubelet.devices(GPU)) == [H100.uuid(1)]


def test_pods_get_whole_gpus(joins: Joins, plugs: Plugs) -> None:
    with plugs(joins(stacks.AZURE, "whole", [H100] * 8)) as kubelet:
        chosen = kubelet.prefer(GPU, sorted(kubelet.devices(GPU)), 2)
        assert kubelet.resources == {GPU: placement.gpus_per_node(pool_named(stacks.AZURE, "whole"))}
        visible = kubelet.allocate(GPU, chosen).envs["NVIDIA_VISIBLE_DEVICES"]
        assert len(set(visible.split(","))) == 2
        assert set(visible.split(",")) == set(chosen)


def test_a_pod_gets_one_share_at_most(joins: Joins, plugs: Plugs) -> None:
    """Two of one GPU would be one: `infra.gpu.placement` refuses pods with more, and so does the plugin."""
    with plugs(joins(stacks.AWS, "sliced", [L4])) as kubelet:
        first, second, *_ = kubelet.devices(GPU)
        assert kubelet.allocate(GPU, [first]).envs["NVIDIA_VISIBLE_DEVICES"] == L4.uuid(0)
        with pytest.raises(grpc.RpcError, match="maximum request size for shared resources is 1; found 2"):
            kubelet.allocate(GPU, [first, second])


def test_mps_divides_the_memory_and_needs_the_shared_memory_of_pods(gpu_node: Node, joins: Joins, plugs: Plugs) -> None:
    """The last is why `infra.gpu.placement` refuses it: Ray's and KServe's pods have a volume at /dev/shm."""
    installed = joins(stacks.AWS, "mps", [L4])
    daemon_starts(gpu_node, installed)
    told = gpu_node.path(OURS, "mps").read_text().splitlines()
    known = accelerator_by_key("l4")
    assert known
    assert f"set_default_device_pinned_mem_limit 0 {known.memory_bytes // 4 // MIB}M" in told
    assert "set_default_active_thread_percentage 25" in told
    with plugs(installed) as kubelet:
        assert len(kubelet.devices(GPU)) == 4
        first, second, *_ = kubelet.devices(GPU)
        container = kubelet.allocate(GPU, [first])
        assert {mount.container_path: mount.host_path for mount in container.mounts} == {
            container.envs["CUDA_MPS_PIPE_DIRECTORY"]: f"/run/nvidia/mps/{GPU}/pipe",
            "/dev/shm": "/run/nvidia/mps/shm",
        }
        with pytest.raises(grpc.RpcError, match="maximum request size for shared resources is 1; found 2"):
            kubelet.allocate(GPU, [first, second])


def test_mps_has_fewer_clients_on_a_v100(gpu_node: Node, joins: Joins) -> None:
    """`NodePool` refuses more than the daemon does."""
    installed = joins(stacks.AWS, "mps", [V100])
    few = gpu_node.path("config", "config.yaml").read_text()
    for replicas, refused in ((16, False), (17, True)):
        gpu_node.path("config", "few.yaml").write_text(re.sub(r"replicas: \d+", f"replicas: {replicas}", few))
        environment = {**installed.environment("mps-control-daemon-ctr"), "CONFIG_FILE": "/config/few.yaml"}
        with gpu_node.start("mps-control-daemon", environment=environment) as process:
            assert process.stdout
            told = "maximum allowed replicas exceeded: 17 > 16" if refused else "Starting log tailer"
            assert any(told in line for line in process.stdout)


def test_an_xid_takes_a_gpu_away(gpu_node: Node, joins: Joins, plugs: Plugs) -> None:
    with plugs(joins(stacks.AWS, "default", [L4] * 4)) as kubelet:
        kubelet.devices(GPU)
        gpu_node.fail(0, 43)  # an error of a program, not of the GPU
        gpu_node.fail(2, 79)  # the GPU has fallen off the bus
        health = kubelet.devices(GPU, lambda devices: "Unhealthy" in devices.values())
        assert [uuid for uuid, each in health.items() if each == "Unhealthy"] == [L4.uuid(2)]


@pytest.mark.parametrize(
    ("config", "pool", "present", "last"),
    [(stacks.AWS, "sliced", L4, 0), (stacks.AZURE, "slices", SLICES, 7)],
    ids=["time_slicing", "mig"],
)
def test_an_xid_takes_at_most_one_part_of_a_gpu_away(
    config: StackConfig, pool: str, present: Gpu, last: int, gpu_node: Node, joins: Joins, plugs: Plugs
) -> None:
    """The plugin knows one part of each GPU, whichever it saw last: it overlooks the errors of other slices."""
    with plugs(joins(config, pool, [present])) as kubelet:
        kubelet.devices(GPU)
        for instance in range(last + 1):
            gpu_node.fail(0, 79, instance or -1)
        health = kubelet.devices(GPU, lambda devices: "Unhealthy" in devices.values())
        assert sorted(health.values())[-2:] == ["Healthy", "Unhealthy"]
