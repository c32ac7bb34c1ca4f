"""What kubeadm is told; kubeadm itself checks it on the real machines of tests/cluster/test_onprem.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from infra.onprem import kubeadm, preflight
from infra.onprem.kubeadm import ClusterConfiguration, NodeRegistration
from infra.onprem.machine import MachineSpec, keepalived_config

CONFIGURATION = ClusterConfiguration(
    name="prod",
    version="1.37.2",
    endpoint="192.168.7.10",
    pod_range="10.244.0.0/16",
    service_range="10.96.0.0/16",
    names=("192.168.7.10", "192.168.7.11"),
    api_server_args={"audit-log-path": "-"},
    dns_tag="",
    offline=False,
)
NODE = NodeRegistration(
    "cp1", "192.168.7.11", ({"key": "a", "value": "b", "effect": "NoSchedule"},), legacy_cgroups=False
)


def documents(text: str) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_first_control_plane_has_the_settings_of_the_cluster() -> None:
    said = documents(kubeadm.init_documents(CONFIGURATION, NODE))
    cluster = said["ClusterConfiguration"]
    assert cluster["kubernetesVersion"] == "v1.37.2"
    assert cluster["controlPlaneEndpoint"] == "192.168.7.10:6443"
    assert cluster["networking"] == {"podSubnet": "10.244.0.0/16", "serviceSubnet": "10.96.0.0/16"}
    assert {"name": "audit-log-path", "value": "-"} in cluster["apiServer"]["extraArgs"]
    assert cluster["apiServer"]["certSANs"] == ["192.168.7.10", "192.168.7.11"]
    assert "dns" not in cluster
    init = said["InitConfiguration"]
    assert init["localAPIEndpoint"] == {"advertiseAddress": "192.168.7.11", "bindPort": 6443}
    assert init["nodeRegistration"]["taints"] == [{"key": "a", "value": "b", "effect": "NoSchedule"}]
    assert init["nodeRegistration"]["ignorePreflightErrors"] == []
    assert init["bootstrapTokens"] == [{"ttl": "1m0s"}]
    assert "imageGCHighThresholdPercent" not in said["KubeletConfiguration"]


def test_without_a_registry_no_image_is_collected_and_names_are_the_bundles() -> None:
    said = documents(kubeadm.init_documents(replace(CONFIGURATION, offline=True, dns_tag="v1.15.0"), NODE))
    assert said["KubeletConfiguration"]["imageGCHighThresholdPercent"] == 100
    assert said["ClusterConfiguration"]["dns"] == {"imageTag": "v1.15.0"}


def test_a_machine_that_the_preflight_passes_has_the_disk_that_a_kubelet_wants() -> None:
    said = documents(kubeadm.init_documents(CONFIGURATION, NODE))["KubeletConfiguration"]["evictionHard"]
    for least in (said["nodefs.available"], said["imagefs.available"]):
        assert int(least.removesuffix("Gi")) * 1024 < preflight.MIN_DISK_MIB / 2


def test_hosts_with_control_groups_of_version_1_are_accepted() -> None:
    said = documents(kubeadm.init_documents(CONFIGURATION, replace(NODE, legacy_cgroups=True)))
    assert said["InitConfiguration"]["nodeRegistration"]["ignorePreflightErrors"] == ["SystemVerification"]
    assert said["KubeletConfiguration"]["failCgroupV1"] is False


def test_join() -> None:
    [worker] = documents(kubeadm.join_documents(NODE, "192.168.7.10", "t.k", "sha256:0")).values()
    assert worker["discovery"]["bootstrapToken"] == {
        "apiServerEndpoint": "192.168.7.10:6443",
        "token": "t.k",
        "caCertHashes": ["sha256:0"],
    }
    assert "controlPlane" not in worker
    [plane] = documents(kubeadm.join_documents(NODE, "192.168.7.10", "t.k", "sha256:0", "k" * 64)).values()
    assert plane["controlPlane"]["certificateKey"] == "k" * 64
    assert plane["controlPlane"]["localAPIEndpoint"]["advertiseAddress"] == "192.168.7.11"


def wanted(address: str) -> MachineSpec:
    peers = ("192.168.7.11", "192.168.7.12", "192.168.7.13")
    return MachineSpec("s", address, "1.37.2", "", "", {}, 0, "preinstalled", "192.168.7.10", "", peers)


def test_the_virtual_ip_prefers_the_first_and_moves_to_one_that_works() -> None:
    first, second = (keepalived_config(wanted(f"192.168.7.{n}"), "eth0") for n in (11, 12))
    assert "priority 103" in first
    assert "priority 102" in second
    assert "weight 20" in first  # more than the distance of the priorities: one that works goes before
    assert first.split("unicast_peer {")[1].split("}")[0].split() == ["192.168.7.12", "192.168.7.13"]
    assert "192.168.7.10/32" in first
    number = next(line for line in first.splitlines() if "virtual_router_id" in line)
    assert number in second
    assert 1 <= int(number.split()[1]) <= 255
