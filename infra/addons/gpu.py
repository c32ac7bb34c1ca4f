"""Support for NVIDIA GPUs: exactly one owner of the driver, and one advertiser of `nvidia.com/gpu`.

If the node's image includes the driver, only NVIDIA's device plugin is installed. Otherwise NVIDIA's GPU operator
installs driver, container toolkit and device plugin. Two advertisers would assign the same GPU twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import yaml

from infra import versions
from infra.addons.addon import Addon, AddonPod, Values, repository_image
from infra.addons.monitoring import MONITORING
from infra.cluster_config import Toleration
from infra.config import StackConfig
from infra.gpu.placement import DEVICE_PLUGIN_CONFIG, NODE_POOL_RULES
from infra.nodes.pools import GPU as RESOURCE
from infra.nodes.pools import Sharing
from infra.nodes.resources import Resources
from infra.versions import Chart
from serving.config import KServeModel

TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def needed(config: StackConfig) -> bool:
    """Returns whether a pool or a KServe model has GPUs."""
    return any(p.gpus for p in config.pools) or any(isinstance(m, KServeModel) and m.gpus for m in config.models)


def _chart(config: StackConfig) -> Chart:
    return versions.GPU_OPERATOR if config.addons.gpu_driver == "operator" else versions.GPU_DEVICE_PLUGIN


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    tolerated = tolerations(config)
    # Plugin and operator run only on nodes that node feature discovery has labelled, so it must run there too.
    discovery = {"image": repository_image(images["nfd"]), "worker": {"tolerations": tolerated}}
    if config.addons.gpu_driver == "host":
        return {
            "image": repository_image(images["plugin"]),
            "tolerations": tolerated,
            "gfd": {"enabled": True},  # labels nodes with the GPU product, by which pools select nodes
            "nfd": discovery,
            **({"config": {"map": shared, "default": UNSHARED}} if (shared := _sharing_configs(config)) else {}),
            # All slices of a node are equal, so each is advertised as one nvidia.com/gpu.
            **({"migStrategy": "single"} if any(p.sharing.kind == "mig" for p in config.node_pools) else {}),
        }
    return {
        "driver": {
            "enabled": True,
            **_operator_image(images["driver"]),
            "manager": _operator_image(images["driverManager"]),
        },
        "toolkit": {"enabled": True, **_operator_image(images["toolkit"])},
        "devicePlugin": {"enabled": True, **_operator_image(images["devicePlugin"]), **_operator_sharing(config)},
        "gfd": _operator_image(images["devicePlugin"]),  # another program of the same image
        "migManager": _operator_image(images["migManager"]),
        "validator": _operator_image(images["operator"]),
        "operator": {
            **_operator_image(images["operator"]),
            "cleanupCRD": True,
            "initContainer": _operator_image(images["cuda"]),
        },
        "node-feature-discovery": discovery,
        "dcgmExporter": {
            "enabled": True,
            **_operator_image(images["dcgmExporter"]),
            # The GPU dashboard and alerts use these metrics.
            "serviceMonitor": {"enabled": MONITORING.choice(config) != "off"},
        },
        "daemonsets": {"tolerations": tolerated},
    }


def tolerations(config: StackConfig) -> list[Values]:
    """Returns the tolerations of all taints that nodes with GPUs have, by the pools on them and by the node pools."""
    found = [TAINT]
    for pool in config.pools:
        if pool.gpus:
            found += [t.model_dump(exclude_defaults=True) | {"operator": t.operator} for t in pool.tolerations]
    if rules := NODE_POOL_RULES.get(config.target):
        taints = [taint for pool in rules.pools(config) if pool.gpus for taint in rules.taints(pool)]
        found += [{"key": t.key, "operator": "Exists", "effect": t.effect} for t in taints]
    return [toleration for i, toleration in enumerate(found) if toleration not in found[:i]]


UNSHARED = "not.shared"
"""Configuration of nodes without the configuration label. No node pool's name has a dot."""


def _sharing_configs(config: StackConfig) -> dict[str, str]:
    """Returns the device plugin's configurations by name, for node pools that share GPUs and for all others."""
    shared = {
        pool.name: {"sharing": _sharing(pool.sharing)}
        for pool in config.node_pools
        if DEVICE_PLUGIN_CONFIG in pool.labels
    }
    all_of_them = {UNSHARED: {}, **shared} if shared else {}
    return {name: yaml.safe_dump({"version": "v1", **one}) for name, one in all_of_them.items()}


def _sharing(sharing: Sharing) -> Values:
    resources = [{"name": RESOURCE, "replicas": sharing.replicas}]
    if sharing.kind == "mps":
        return {"mps": {"resources": resources}}
    # Two shares can be of the same GPU, which no program expects; with MPS the plugin refuses this by itself.
    return {"timeSlicing": {"failRequestsGreaterThanOne": True, "resources": resources}}


def _operator_sharing(config: StackConfig) -> Values:
    shared = _sharing_configs(config)
    name = "device-plugin-config"
    return {"config": {"create": True, "name": name, "default": UNSHARED, "data": shared}} if shared else {}


def _operator_image(reference: str) -> Values:
    repository, _, tag = reference.rpartition(":")
    path = PurePosixPath(repository)
    return {"repository": str(path.parent), "image": path.name, "version": tag}


def _pods(config: StackConfig) -> Iterator[AddonPod]:
    """Yields those of node feature discovery, and the operator; drivers and device plugins request nothing."""
    if config.addons.gpu_driver == "operator":
        yield AddonPod("the GPU operator", Resources.parse("200m", "100Mi"))
    yield AddonPod("node feature discovery", Resources.parse("100m", "128Mi"))
    yield AddonPod("garbage collection of node features", Resources.parse("10m", "128Mi"))
    tolerated = tuple(Toleration.model_validate(toleration) for toleration in tolerations(config))
    yield AddonPod("node features", Resources.parse("5m", "64Mi"), every_node=True, tolerations=tolerated)


GPU = Addon(
    name="gpu",
    namespace="gpu-operator",
    needed=needed,
    chart=_chart,
    values=_values,
    kinds=(),
    after=("monitoring",),
    pods=lambda config: tuple(_pods(config)),
    pod_security="privileged",  # drivers and device plugins access the host's devices
)
