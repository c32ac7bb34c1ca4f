"""`headrace:onprem`: what may not stand together is refused, each with its key and a fix."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from infra.nodes.pools import GPU_TAINT, POOL_LABEL
from infra.onprem_config import OnPrem, mistakes

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPqfeZ5QqXyGeTzAn7IXo2hcmIS6PN6nOSpGAGPZbdHn a comment"
SUM = "0" * 64
L4 = {"gpus": 1, "accelerator": "l4"}


def host(name: str, last: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "address": f"192.168.7.{last}", "host_key": KEY, **more}


def plane(name: str, last: int, **more: Any) -> dict[str, Any]:
    return host(name, last, role="control_plane", **more)


ONE = (plane("cp1", 11), host("w1", 21))
THREE = (plane("cp1", 11), plane("cp2", 12), plane("cp3", 13), host("w1", 21))


def settings(*hosts: dict[str, Any], **more: Any) -> OnPrem:
    return OnPrem.model_validate({"hosts": hosts, "bundle": "bundle", **more})


def test_valid_settings_have_no_mistakes() -> None:
    assert mistakes(settings(*ONE)) == []
    assert mistakes(settings(*THREE, virtual_ip="192.168.7.10", interface="eth1")) == []
    sums = dict.fromkeys(("kubeadm", "kubelet", "kubectl"), SUM)
    assert mistakes(settings(*ONE, bundle="", checksums=sums)) == []


@pytest.mark.parametrize(
    ("given", "key", "problem"),
    [
        ({"hosts": ()}, "onprem.hosts", "is empty"),
        ({"hosts": [host("w1", 21)]}, "onprem.hosts", "no host with role control_plane"),
        ({"hosts": THREE[:2]}, "onprem.hosts", "2 hosts with role control_plane"),
        ({"hosts": THREE}, "onprem.virtual_ip", "is missing"),
        ({"virtual_ip": "192.168.7.10"}, "onprem.virtual_ip", "requires three"),
        ({"interface": "eth0"}, "onprem.interface", "requires virtual_ip"),
        ({"hosts": [*ONE, host("w1", 22)]}, "onprem.hosts[2].name", "'w1' is already onprem.hosts[1].name"),
        ({"hosts": [*ONE, host("w2", 21)]}, "onprem.hosts[2].address", "'192.168.7.21' is already"),
        ({"hosts": [plane("cp1", 1, address="127.0.0.1")]}, "onprem.hosts[0].address", "not a host address"),
        ({"hosts": THREE, "virtual_ip": "192.168.7.12"}, "onprem.virtual_ip", "the address of 'cp2'"),
        ({"pod_range": "192.168.0.0/16"}, "onprem.pod_range", "contains the address of cp1, w1"),
        ({"service_range": "192.168.7.0/24"}, "onprem.service_range", "contains the address of cp1, w1"),
        ({"hosts": THREE, "virtual_ip": "10.244.0.1"}, "onprem.pod_range", "contains the address of virtual_ip"),
        ({"pod_range": "10.96.128.0/17"}, "onprem.service_range", "overlaps pod_range"),
        ({"pod_range": "10.244.0.0/24"}, "onprem.pod_range", "too small to give each of 2 hosts a /24"),
        ({"pod_range": "8.0.0.0/16"}, "onprem.pod_range", "is public"),
        ({"service_range": "10.96.0.0/28"}, "onprem.service_range", "is not between"),
        ({"hosts": [plane("cp1", 1, host_key="ssh-ed25519 xyz")]}, "onprem.hosts[0].host_key", "not an SSH public key"),
        ({"hosts": [plane("cp1", 1, host_key="SHA256:abc")]}, "onprem.hosts[0].host_key", "not an SSH public key"),
        ({"hosts": [plane("c", 1, gpus=1, accelerator="h1000")]}, "onprem.hosts[0].accelerator", "no accelerator"),
        ({"hosts": [*ONE, host("g", 31, **L4)]}, "onprem.hosts[2].pool", "is missing, but the host has GPUs"),
        (
            {"hosts": [plane("c", 1), host("a", 2, pool="x"), host("b", 3, pool="x", **L4)]},
            "onprem.hosts[2].pool",
            "host 'a' in the same pool 'x'",
        ),
        ({"checksums": {"kubeadm": SUM}}, "onprem.checksums", "cannot be combined with bundle"),
        ({"bundle": ""}, "onprem.checksums", "lacks kubeadm, kubelet, kubectl"),
        ({"bundle": "", "checksums": {"kubeadmin": SUM}}, "onprem.checksums.kubeadmin", "no binary 'kubeadmin'"),
    ],
)
def test_invalid_settings_are_rejected(given: dict[str, Any], key: str, problem: str) -> None:
    found = mistakes(OnPrem.model_validate({"hosts": ONE, "bundle": "bundle", **given}))
    [mistake] = [m for m in found if m.key == key]
    assert problem in mistake.problem
    assert mistake.fix


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Upper"},
        {"address": "192.168.7.300"},
        {"address": "host.example.com"},
        {"port": 0},
        {"user": "root; reboot"},
        {"role": "master"},
        {"gpus": 1},
        {"accelerator": "l4"},
        {"labels": {POOL_LABEL: "gpu"}},
        {"labels": {"a b": "c"}},
        {"pool": "Not A Label"},
        {"unknown": 1},
    ],
)
def test_invalid_hosts_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings({**plane("cp1", 11), **wrong})


def test_nodes_with_gpus_keep_others_away() -> None:
    made = settings(plane("cp1", 11), host("g1", 31, gpus=2, accelerator="l4", pool="gpu", labels={"rack": "7"}))
    gpu = made.hosts[1]
    assert gpu.node_taints == (GPU_TAINT,)
    assert gpu.node_labels == {POOL_LABEL: "gpu", "rack": "7"}
    assert made.hosts[0].node_taints == ()


def test_pods_run_on_control_planes_only_where_nothing_else_is() -> None:
    assert settings(plane("cp1", 11)).pods_run_on(settings(plane("cp1", 11)).hosts[0])
    both = settings(*ONE)
    assert [both.pods_run_on(h) for h in both.hosts] == [False, True]
