"""Node pools and the pods on them: who owns the GPUs, what fits where, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from infra.addons.gpu import GPU as ADDON
from infra.config import StackConfig
from infra.gpu import placement
from infra.nodes.accelerators import accelerator_by_key
from infra.nodes.pools import POOL_LABEL, NodePool
from serving.config import KServeModel

CPU = {"name": "cpu"}
L4 = {"name": "l4", "accelerator": "l4", "gpus": 1}

SETTINGS = {
    "aws": {"aws": {"account": "123456789012", "region": "eu-west-1"}},
    "gcp": {"gcp": {"project": "example-project", "region": "europe-west4"}},
    "azure": {"azure": {"subscription": "00000000-0000-0000-0000-000000000001", "location": "westeurope"}},
}


def config(*nodes: dict[str, Any], target: str = "aws", pods: list[dict[str, Any]] | None = None) -> StackConfig:
    return StackConfig.model_validate(
        {
            "target": target,
            **SETTINGS[target],
            "cluster": {"authorized_ranges": ["203.0.113.7/32"]},
            "image": {"tag": "1"},
            "node_pools": [CPU, *nodes],
            "pools": [{"name": "serving"}, *(pods or [])],
        }
    )


def mistake_messages(settings: StackConfig) -> list[str]:
    return [str(m) for m in placement.mistakes(settings)]


@pytest.mark.parametrize(
    ("target", "nodes", "driver", "advertiser"),
    [
        ("aws", {}, "cloud", "device_plugin"),
        ("azure", {"driver": "operator"}, "operator", "operator"),
        ("gcp", {}, "cloud", "cloud"),
        ("azure", {}, "cloud", "device_plugin"),
    ],
)
def test_each_gpu_has_one_owner_and_one_advertiser(
    target: str, nodes: dict[str, Any], driver: str, advertiser: str
) -> None:
    settings = config({**L4, **nodes}, target=target)
    assert placement.gpu_owners(settings, settings.node_pools[1]) == placement.GpuOwners(driver, advertiser)


@pytest.mark.parametrize(
    ("target", "nodes", "choice", "chart"),
    [
        ("aws", {}, "install", "nvidia-device-plugin"),
        ("azure", {"driver": "operator"}, "install", "gpu-operator"),
        ("gcp", {}, "existing", None),
    ],
)
def test_the_stack_installs_an_advertiser_where_the_cloud_has_none(
    target: str, nodes: dict[str, Any], choice: str, chart: str | None
) -> None:
    pods = [{"name": "gpu", "gpus": 1, "node_pool": "l4"}]
    lowered = placement.place(config({**L4, **nodes}, target=target, pods=pods))
    assert ADDON.choice(lowered) == choice
    if chart:
        assert ADDON.chart(lowered).name == chart


def test_bottlerocket_brings_its_advertiser() -> None:
    settings = config(L4, pods=[{"name": "gpu", "gpus": 1, "node_pool": "l4"}])
    settings = settings.model_copy(update={"aws": settings.aws.model_copy(update={"image": "bottlerocket"})})
    assert ADDON.choice(placement.place(settings)) == "existing"


def test_two_owners_in_a_cluster_are_refused() -> None:
    other = {"name": "other", "accelerator": "l4", "gpus": 1, "driver": "operator"}
    assert (
        "headrace:node_pools[2].driver: its GPUs have driver owner 'operator' and advertiser 'operator', but those of"
        " 'l4' have 'cloud' and 'cloud'; give all pools with GPUs the same driver"
    ) in mistake_messages(
        config({**L4, "zones": ["europe-west4-a"]}, {**other, "zones": ["europe-west4-a"]}, target="gcp")
    )


def test_pods_are_placed_on_their_nodes() -> None:
    taint = {"key": "team", "value": "search", "effect": "NoExecute"}
    pods = [{"name": "gpu", "gpus": 1, "node_pool": "l4", "node_selector": {"zone": "a"}}]
    lowered = placement.place(config({**L4, "taints": [taint]}, pods=pods))
    [serving, gpu] = lowered.pools
    assert serving.node_selector == {}
    assert gpu.selector == {POOL_LABEL: "l4", "zone": "a"}
    assert [(t.key, t.operator, t.value, t.effect) for t in gpu.tolerations] == [
        ("nvidia.com/gpu", "Equal", "present", "NoSchedule"),
        ("team", "Equal", "search", "NoExecute"),
    ]


def test_pods_tolerate_the_clouds_taints() -> None:
    spot = {"name": "spot", "capacity": "spot"}
    lowered = placement.place(config(spot, target="azure", pods=[{"name": "batch", "node_pool": "spot"}]))
    assert [t.key for t in lowered.pools[1].tolerations] == ["kubernetes.azure.com/scalesetpriority"]


def test_the_device_plugin_gets_the_sharing_configuration() -> None:
    """Nodes of other pools get none, whatever the pool is called."""
    shared = {**L4, "name": "default", "sharing": {"kind": "time_slicing", "replicas": 4}}
    pods = [{"name": "gpu", "gpus": 1, "node_pool": "default"}]
    lowered = placement.place(config(shared, pods=pods))
    assert lowered.node_pools[1].node_labels["nvidia.com/device-plugin.config"] == "default"
    values = ADDON.values(lowered, ADDON.images(lowered))
    one = yaml.safe_load(values["config"]["map"]["default"])
    resources = [{"name": "nvidia.com/gpu", "replicas": 4}]
    assert one["sharing"] == {"timeSlicing": {"failRequestsGreaterThanOne": True, "resources": resources}}
    assert yaml.safe_load(values["config"]["map"][values["config"]["default"]]) == {"version": "v1"}


def test_the_device_plugin_advertises_slices() -> None:
    sliced = {"name": "a", "accelerator": "a100-80gb-pcie", "gpus": 1, "sharing": {"kind": "mig", "profile": "1g.10gb"}}
    for nodes, expected in ((sliced, "single"), ({**sliced, "sharing": {}}, None)):
        lowered = placement.place(config(nodes, target="azure", pods=[{"name": "g", "gpus": 1, "node_pool": "a"}]))
        assert ADDON.values(lowered, ADDON.images(lowered)).get("migStrategy") == expected


def test_the_operator_gets_the_mig_configuration() -> None:
    sliced = {
        "name": "a100",
        "accelerator": "a100-40gb",
        "gpus": 8,
        "driver": "operator",
        "sharing": {"kind": "mig", "profile": "1g.5gb"},
    }
    lowered = placement.place(config(sliced))
    assert lowered.node_pools[1].node_labels["nvidia.com/mig.config"] == "all-1g.5gb"


@pytest.mark.parametrize(
    ("sharing", "units", "known"),
    [({}, 8, True), ({"kind": "mps", "replicas": 4}, 32, False), ({"kind": "time_slicing", "replicas": 2}, 16, False)],
)
def test_a_node_offers_its_shared_gpus(sharing: dict[str, Any], units: int, known: bool) -> None:
    nodes = {"name": "h", "accelerator": "h100-80gb", "gpus": 8, "sharing": sharing}
    settings = config(nodes, pods=[{"name": "gpu", "gpus": 1, "node_pool": "h"}])
    assert placement.gpus_per_node(settings.node_pools[1]) == units
    assert placement.pool_gpu(settings, settings.pools[1]) == (accelerator_by_key("h100-80gb") if known else None)


def test_a_slice_has_a_part_of_the_memory() -> None:
    pool = NodePool.model_validate(
        {"name": "a", "accelerator": "a100-40gb", "gpus": 8, "sharing": {"kind": "mig", "profile": "1g.5gb"}}
    )
    assert placement.gpus_per_node(pool) == 56
    settings = config(pool.model_dump(), pods=[{"name": "gpu", "gpus": 1, "node_pool": "a"}])
    found = placement.pool_gpu(settings, settings.pools[1])
    assert found is not None
    assert found.memory_bytes == 4_864 * 1024**2


@pytest.mark.parametrize(
    ("nodes", "pods", "expected"),
    [
        ([L4], {"node_pool": "cpus"}, "pools[1].node_pool: there is no node pool 'cpus'; did you mean 'cpu'?"),
        ([L4], {"gpus": 1}, "pools[1].node_pool: is missing, but the pods have GPUs; use one of l4"),
        ([], {"gpus": 1}, "pools[1].node_pool: is missing, but the pods have GPUs; add a node pool with GPUs"),
        ([L4], {"gpus": 2, "node_pool": "l4"}, "pools[1].gpus: 2 is more than the 1 of a node in 'l4'"),
        ([L4], {"gpus": 1, "node_pool": "l4", "replicas": 2}, "2 pods are more than the 1 that fit on max_nodes"),
        (
            [L4],
            {"gpus": 1, "node_pool": "l4", "accelerator": "NVIDIA-L4"},
            "pools[1].accelerator: cannot be combined with node_pool; remove it: 'l4' determines the GPUs",
        ),
        ([], {"node_pool": "cpu", "cpus": 5}, "pools[1].cpus: 5 is more than the 4 vCPUs of m7i.xlarge in 'cpu'"),
        (
            [{**L4, "sharing": {"kind": "mps", "replicas": 2}}],
            {"gpus": 1, "node_pool": "l4"},
            "pools[1].node_pool: 'l4' shares its GPUs by MPS, but the pods' own /dev/shm hides that of MPS; use",
        ),
        *(
            (
                [{**L4, "accelerator": "a100-40gb", "gpus": 8, "sharing": sharing}],
                {"gpus": 2, "node_pool": "l4"},
                "pools[1].gpus: is 2, but a pod can use only one share of a GPU of 'l4'; use 1, or a node pool with",
            )
            for sharing in ({"kind": "time_slicing", "replicas": 2}, {"kind": "mig", "profile": "1g.5gb"})
        ),
        ([L4, L4], {}, "node_pools[2].name: 'l4' is already node_pools[1].name; choose another name"),
    ],
)
def test_pods_that_find_no_node(nodes: list[dict[str, Any]], pods: dict[str, Any], expected: str) -> None:
    found = mistake_messages(config(*nodes, pods=[{"name": "gpu", **pods}]))
    assert any(expected in m for m in found), found


def test_kserves_pods_get_one_share_too() -> None:
    shared = {**L4, "sharing": {"kind": "time_slicing", "replicas": 2}}
    settings = config(shared, pods=[{"name": "gpu", "node_pool": "l4"}])
    weights = {"runtime": "vllm", "storage": "hf://example/large", "gpus": 2}
    large = KServeModel.model_validate({"name": "large", "pool": "gpu", **weights})
    elsewhere = KServeModel.model_validate({"name": "elsewhere", **weights})
    found = mistake_messages(settings.model_copy(update={"models": (large, elsewhere)}))
    assert [m.partition(",")[0] for m in found] == ["headrace:models[0].gpus: is 2"]


def test_a_cluster_of_yours_has_no_node_pools() -> None:
    settings = StackConfig.model_validate(
        {"target": "kubeconfig", "image": {"tag": "1"}, "pools": [{"name": "serving", "node_pool": "l4"}]}
    )
    assert mistake_messages(settings) == [
        "headrace:pools[0].node_pool: names a node pool, but the stack does not create this cluster; use node_selector"
    ]
    assert placement.place(settings) is settings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min_nodes": 3, "max_nodes": 2}, "needs min_nodes <= max_nodes, but has 3 and 2"),
        ({"accelerator": "l4"}, "needs both accelerator and gpus, or neither"),
        ({"gpus": 1}, "needs both accelerator and gpus, or neither"),
        ({"driver": "operator"}, "has driver or sharing, which require GPUs"),
        ({"sharing": {"kind": "mps", "replicas": 2}}, "has driver or sharing, which require GPUs"),
        ({"capacity": "reserved"}, "needs a reservation with capacity reserved, and none with any other capacity"),
        ({"reservation": "cr-1"}, "needs a reservation with capacity reserved, and none with any other capacity"),
        ({"labels": {POOL_LABEL: "x"}}, "sets the label headrace.io/node-pool, which the stack sets itself"),
        (
            {"sharing": {"kind": "mps"}},
            "needs replicas > 1 with kind time_slicing or mps, and replicas 1 with any other kind",
        ),
        (
            {"sharing": {"replicas": 2}},
            "needs replicas > 1 with kind time_slicing or mps, and replicas 1 with any other kind",
        ),
        ({"sharing": {"kind": "mig"}}, "needs a profile with kind mig, and no profile with any other kind"),
        (
            {"accelerator": "v100-16gb", "gpus": 1, "sharing": {"kind": "mps", "replicas": 17}},
            "needs at most 16 replicas: MPS has no more clients on a v100-16gb",
        ),
        ({"labels": {"no good": "x"}}, "String should match pattern"),
        ({"disk_gib": 5}, "greater than or equal to 30"),
        ({"disk_throughput": 1000, "disk_iops": 3000}, "at least 4 disk_iops for each MiB/s"),
    ],
)
def test_node_pools_that_make_no_sense(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected.replace("(", r"\(").replace(">", ">")):
        NodePool.model_validate({"name": "p", **settings})


HOSTS = [
    {"name": "cp", "address": "192.0.2.1", "role": "control_plane"},
    {"name": "a", "address": "192.0.2.2", "pool": "gpu", "gpus": 2, "accelerator": "l4"},
    {"name": "b", "address": "192.0.2.3", "pool": "gpu", "gpus": 2, "accelerator": "l4"},
]


def test_hosts_of_a_pool_are_nodes_of_a_pool() -> None:
    settings = StackConfig.model_validate(
        {
            "target": "onprem",
            "onprem": {"hosts": HOSTS, "bundle": "bundle"},
            "image": {"tag": "1"},
            "pools": [{"name": "serving"}, {"name": "gpu", "gpus": 1, "replicas": 5, "node_pool": "gpu"}],
        }
    )
    [pool] = placement.node_pools(settings)
    assert (pool.name, pool.gpus, pool.min_nodes, pool.max_nodes, pool.driver) == ("gpu", 2, 2, 2, "preinstalled")
    assert placement.gpu_owners(settings, pool) == placement.GpuOwners("preinstalled", "device_plugin")
    assert mistake_messages(settings) == [
        "headrace:pools[1].replicas: 5 pods are more than the 4 that fit on max_nodes; raise max_nodes of 'gpu'"
    ]
    assert placement.place(settings).pools[1].node_selector == {POOL_LABEL: "gpu"}


def test_mistakes_of_hosts_are_those_of_onprem() -> None:
    settings = StackConfig.model_validate({"target": "onprem", "onprem": {"hosts": HOSTS[1:]}, "image": {"tag": "1"}})
    assert {m.key for m in placement.mistakes(settings)} == {"onprem.hosts", "onprem.checksums"}
