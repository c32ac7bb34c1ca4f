"""Configurations with one thing wrong are refused before any resource, each with the key and a fix."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from infra.cluster_config import MOUNTED_SECRETS
from infra.config_loader import load
from infra.layout import CHECKOUT

Path = tuple[str | int, ...]

CLOUDS = ("aws", "gcp", "azure")
TARGETS = (*CLOUDS, "onprem")
WANTED = 200


@cache
def settings(cloud: str) -> dict[str, Any]:
    config = yaml.safe_load((CHECKOUT / f"Pulumi.{cloud}.yaml").read_text())["config"]
    return {key.removeprefix("headrace:"): value for key, value in config.items()}


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items and path:
        yield path, value
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def keys(value: Any, path: Path = ()) -> Iterator[Path]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(key, str) and path:
            yield (*path, key)
        yield from keys(inner, (*path, key))


def changed(config: dict[str, Any], path: Path, change: Any) -> dict[str, Any]:
    made = copy.deepcopy(config)
    holder: Any = made
    for part in path[:-1]:
        holder = holder[part]
    if change is DELETED:
        del holder[path[-1]]
    elif isinstance(change, Renamed):
        holder[f"{path[-1]}{change.by}"] = holder.pop(path[-1])
    else:
        holder[path[-1]] = change
    return made


DELETED = object()


class Renamed:
    def __init__(self, by: str) -> None:
        self.by = by


OF_ANY_CLOUD: list[tuple[Path, Any]] = [
    (("cluster", "authorized_ranges"), []),
    (("cluster", "authorized_ranges"), ["0.0.0.0/0"]),
    (("cluster", "authorized_ranges"), ["203.0.113.300/32"]),
    (("cluster", "kubernetes_version"), "1.19"),
    (("cluster", "kubernetes_version"), "latest"),
    (("cluster", "network"), {"cidr": "8.8.0.0/16"}),
    (("cluster", "network"), {"cidr": "10.0.0.0/28"}),
    (("cluster", "network"), {"existing": "mine"}),
    (("cluster", "network"), {"existing": "vpc-0123456789abcdef0", "subnets": ["a"], "cidr": "10.0.0.0/16"}),
    (("cluster", "endpoint"), "private"),  # with authorized_ranges
    (("cluster", "prices"), "no-such-file.yaml"),
    (("node_pools",), []),
    (("node_pools", 0, "min_nodes"), 5),
    (("node_pools", 0, "max_nodes"), 0),
    (("node_pools", 0, "gpus"), 1),
    (("node_pools", 0, "driver"), "operator"),
    (("node_pools", 0, "sharing"), {"kind": "mps", "replicas": 4}),
    (("node_pools", 0, "taints"), [{"key": "only", "value": "these"}]),
    (("node_pools", 0, "name"), "gpu"),
    (("node_pools", 0, "name"), "Not A Label"),
    (("node_pools", 0, "machine_type"), "m0.nano"),
    (("node_pools", 0, "labels"), {"headrace.io/node-pool": "mine"}),
    (("node_pools", 0, "labels"), {"not a label": "x"}),
    (("node_pools", 0, "labels"), {"team": "not a value"}),
    (("node_pools", 0, "labels"), {"kubernetes.io/role": "node"}),
    (("node_pools", 0, "disk_gib"), 5),
    (("node_pools", 0, "zones"), ["mars-north1-a"]),
    (("node_pools", 1, "accelerator"), "l5"),
    (("node_pools", 1, "accelerator"), "rtx-4090"),
    (("node_pools", 1, "accelerator"), DELETED),
    (("node_pools", 1, "gpus"), 3),
    (("node_pools", 1, "gpus"), DELETED),
    (("node_pools", 1, "machine_type"), "no-such-machine"),
    (("node_pools", 1, "capacity"), "reserved"),
    (("node_pools", 1, "capacity"), "free"),
    (("node_pools", 1, "reservation"), "mine"),
    (("node_pools", 1, "driver"), "preinstalled"),
    (("node_pools", 1, "driver"), "nobody"),
    (("node_pools", 1, "sharing"), {"kind": "mig", "profile": "9g.99gb"}),
    (("node_pools", 1, "sharing"), {"kind": "mig"}),
    (("node_pools", 1, "sharing"), {"kind": "time_slicing"}),
    (("node_pools", 1, "sharing"), {"replicas": 2}),
    (("node_pools", 1, "name"), "other"),  # the pool of pods names gpu
    (("kubernetes",), {"render": "manifests"}),
]

OF_ANY: list[tuple[Path, Any]] = [
    (("pools", 1, "node_pool"), "gpus"),
    (("pools", 1, "node_pool"), DELETED),
    (("pools", 1, "gpus"), 2),
    (("pools", 1, "replicas"), 9),
    (("pools", 1, "accelerator"), "NVIDIA-L4"),
    (("models", 0, "cpus"), 999),
    (("models", 0, "context"), 131072 * 16),  # no GPU holds it
    (("models", 0, "geometry", "parameters"), 80_000_000_000),
    (("models", 0, "tensor_parallel"), 4),
    (("models", 0, "pool"), "serving"),
    (("models", 0, "pool"), "none"),
    (("assistants", 0, "model"), "llama"),
    (("image", "digest"), ""),
    (("kubernetes",), {"kubeconfig": "~/.kube/config"}),
    (("kubernetes",), {"context": "mine"}),
    (("kubernetes",), {"service_type": "LoadBalancer"}),
    (("ports",), {"api": 9000}),
    (("addons",), {"gpu": "off", "kuberay": "off"}),
]

OF_ONE: dict[str, list[tuple[Path, Any]]] = {
    "aws": [
        (("aws", "account"), DELETED),
        (("aws", "account"), "1234"),
        (("aws", "region"), DELETED),
        (("aws", "region"), "cn-north-1"),
        (("aws", "mode"), "fargate"),
        (("aws", "image"), "windows"),
        (("gcp",), {"project": "example-project"}),
        (("node_pools", 1, "capacity"), "queued"),
        (("node_pools", 1, "sharing"), {"kind": "mig", "profile": "1g.5gb"}),
        (("cluster", "authorized_ranges"), ["10.0.0.0/8"]),
    ],
    "gcp": [
        (("gcp", "project"), DELETED),
        (("gcp", "project"), "X"),
        (("gcp", "region"), DELETED),
        (("gcp", "autopilot"), True),
        (("aws",), {"region": "eu-central-1"}),
        (("node_pools", 1, "capacity"), "queued"),  # with min_nodes 1
    ],
    "onprem": [
        (("onprem", "hosts"), []),
        (("onprem", "hosts", 0, "role"), "worker"),
        (("onprem", "hosts", 1, "role"), "control_plane"),  # two of them
        (("onprem", "hosts", 1, "name"), "cp1"),
        (("onprem", "hosts", 1, "address"), "192.0.2.11"),
        (("onprem", "hosts", 1, "address"), "127.0.0.1"),
        (("onprem", "hosts", 1, "address"), "w1.example.com"),
        (("onprem", "hosts", 1, "host_key"), "ssh-ed25519 nonsense"),
        (("onprem", "hosts", 1, "port"), 0),
        (("onprem", "hosts", 1, "user"), "root; reboot"),
        (("onprem", "hosts", 1, "pool"), "Not A Label"),
        (("onprem", "hosts", 1, "pool"), "gpu"),  # without GPUs beside one that has them
        (("onprem", "hosts", 2, "pool"), DELETED),
        (("onprem", "hosts", 2, "accelerator"), "l5"),
        (("onprem", "hosts", 2, "gpus"), DELETED),
        (("onprem", "hosts", 2, "labels"), {"headrace.io/node-pool": "x"}),
        (("onprem", "virtual_ip"), "192.0.2.9"),
        (("onprem", "interface"), "eth0"),
        (("onprem", "kubernetes_version"), "1.37"),
        (("onprem", "pod_range"), "192.0.2.0/24"),
        (("onprem", "pod_range"), "10.96.0.0/16"),
        (("onprem", "pod_range"), "8.0.0.0/16"),
        (("onprem", "service_range"), "10.96.0.0/28"),
        (("onprem", "checksums"), {}),
        (("onprem", "checksums", "kubelet"), "abc"),
        (("onprem", "checksums", "kubeproxy"), "0" * 64),
        (("onprem", "bundle"), "bundle"),  # beside checksums
        (("onprem", "driver"), "cloud"),
        (("onprem", "storage"), {"kind": "local", "path": "relative"}),
        (("node_pools",), [{"name": "cpu"}]),
        (("cluster",), {"endpoint": "private"}),
        (("aws",), {"region": "eu-central-1"}),
    ],
    "azure": [
        (("azure", "subscription"), DELETED),
        (("azure", "subscription"), "mine"),
        (("azure", "location"), DELETED),
        (("gcp",), {"region": "europe-west4"}),
        (("node_pools", 0, "name"), "with-a-dash"),
        (("node_pools", 0, "name"), "morethantwelvecharacters"),
        (("node_pools", 1, "capacity"), "queued"),
        (("node_pools", 0, "zones"), ["westeurope-1"]),
    ],
}


def mutations(cloud: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is done, and the configuration with it."""
    config = settings(cloud)
    for path in keys(config):
        yield f"{path} misspelt", changed(config, path, Renamed("x"))
    for path, value in leaves(config):
        yield f"{path} of another type", changed(config, path, {"not": "this"})
        if isinstance(value, int) and not isinstance(value, bool):
            yield f"{path} below zero", changed(config, path, -1)
    for path, change in (*(OF_ANY_CLOUD if cloud in CLOUDS else ()), *OF_ANY, *OF_ONE[cloud]):
        what = "left out" if change is DELETED else f"= {change}"
        yield f"{path} {what}", changed(config, path, change)


def mistakes(config: dict[str, Any]) -> list[Any]:
    # The token of a gated model is set by `pulumi config set --secret`, as the examples say.
    return list(load(config, frozenset({"models"}), MOUNTED_SECRETS).mistakes)


@pytest.mark.parametrize("cloud", TARGETS)
def test_the_examples_themselves_are_right(cloud: str) -> None:
    assert mistakes(settings(cloud)) == []


def test_invalid_configurations_are_rejected() -> None:
    tried = [(cloud, *mutation) for cloud in TARGETS for mutation in mutations(cloud)]
    assert len(tried) >= WANTED
    assert [f"{cloud}: {what}" for cloud, what, config in tried if not mistakes(config)] == []


@pytest.mark.parametrize("cloud", TARGETS)
def test_mistakes_name_setting_and_fix(cloud: str) -> None:
    for what, config in mutations(cloud):
        for mistake in mistakes(config):
            assert mistake.setting in config or mistake.setting in settings(cloud), (what, mistake)
            assert mistake.problem, what
            assert mistake.fix, what
