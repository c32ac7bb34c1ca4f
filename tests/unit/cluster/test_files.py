"""The files that machines and kubectl get, filled in: they parse, and say what the layout says."""

import ipaddress
import tomllib

import pytest
import yaml

from infra.onprem.network import manifest
from tools.cluster.layout import CONTROL_PLANE, PODS, SERVICES, WORKER
from tools.cluster.template import fill
from tools.machines.network import HOST, SUBNET

KUBEADM = {
    "address": CONTROL_PLANE.ip,
    "name": CONTROL_PLANE.name,
    "zone": "a",
    "kubernetes": "1.37.2",
    "coredns": "1.15.0",
    "pods": PODS,
    "services": SERVICES,
    "reserved": "1024Mi",
}
JOIN = {
    "server": CONTROL_PLANE.ip,
    "token": "abcdef.0123456789abcdef",
    "ca": f"sha256:{'0' * 64}",
    "name": WORKER.name,
    "address": WORKER.ip,
    "zone": "b",
}


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(KeyError, match="zone"):
        fill("join.yaml", **{key: value for key, value in JOIN.items() if key != "zone"})


def test_kubeadm_gets_the_layouts_networks_and_an_honest_share_of_the_memory() -> None:
    documents = {document["kind"]: document for document in yaml.safe_load_all(fill("kubeadm.yaml", **KUBEADM))}
    cluster = documents["ClusterConfiguration"]
    assert cluster["kubernetesVersion"] == "v1.37.2"
    assert cluster["networking"] == {"podSubnet": PODS, "serviceSubnet": SERVICES}
    assert documents["InitConfiguration"]["localAPIEndpoint"]["advertiseAddress"] == CONTROL_PLANE.ip
    assert documents["KubeletConfiguration"]["systemReserved"] == {"memory": "1024Mi"}


def test_the_worker_joins_the_control_plane() -> None:
    join = yaml.safe_load(fill("join.yaml", **JOIN))
    token = join["discovery"]["bootstrapToken"]
    assert token["apiServerEndpoint"] == f"{CONTROL_PLANE.ip}:6443"
    assert (token["token"], token["caCertHashes"]) == (JOIN["token"], [JOIN["ca"]])
    assert join["nodeRegistration"]["name"] == WORKER.name


def test_shells_in_the_network_plugin_keep_their_dollars() -> None:
    text = manifest("image:1", PODS, SERVICES, CONTROL_PLANE.ip)
    documents = list(yaml.safe_load_all(text))
    scripts = documents[0]["data"]
    assert "$(sed 's/" in scripts["publish.sh"]
    assert f"-s {PODS} ! -d {PODS}" in scripts["egress.sh"]
    (router,) = (document for document in documents if document["kind"] == "DaemonSet")
    pod = router["spec"]["template"]["spec"]
    assert {container["image"] for container in [*pod["initContainers"], *pod["containers"]]} == {"image:1"}


def test_containerd_gets_the_pause_image() -> None:
    settings = tomllib.loads(fill("containerd.toml", pause="registry.k8s.io/pause:3.10"))
    assert settings["plugins"]["io.containerd.grpc.v1.cri"]["sandbox_image"] == "registry.k8s.io/pause:3.10"


def test_networks_do_not_overlap_and_hold_the_machines() -> None:
    networks = [ipaddress.IPv4Network(network) for network in (SUBNET, PODS, SERVICES)]
    assert not [(a, b) for a in networks for b in networks if a is not b and a.overlaps(b)]
    addresses = {CONTROL_PLANE.ip, WORKER.ip, HOST}
    assert len(addresses) == 3
    assert all(ipaddress.IPv4Address(address) in networks[0] for address in addresses)
