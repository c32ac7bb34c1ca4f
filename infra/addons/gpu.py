"""NVIDIA GPUs: one owner of the driver, one advertiser of `nvidia.com/gpu`.

Where the node's image brings the driver, the device plugin alone advertises; else NVIDIA's GPU operator owns
driver, container toolkit and device plugin together. Never both: two advertisers hand out the same GPU twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import yaml

from infra import versions
from infra.addons.addon import Addon, Values, whole
from infra.addons.monitoring import MONITORING
from infra.config import StackConfig
from infra.gpu.placement import DEVICE_PLUGIN_CONFIG
from infra.gpu.pools import GPU as RESOURCE
from infra.versions import Chart
from serving.config import KServeModel

TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def needed(config: StackConfig) -> bool:
    """True when a pool, or a model that KServe runs, has GPUs."""
    return any(p.gpus for p in config.pools) or any(isinstance(m, KServeModel) and m.gpus for m in config.models)


def _chart(config: StackConfig) -> Chart:
    return versions.GPU_OPERATOR if config.addons.gpu_driver == "operator" else versions.GPU_DEVICE_PLUGIN


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    tolerations = [TAINT, *(t.model_dump(exclude_defaults=True) for p in config.pools if p.gpus for t in p.tolerations)]
    if config.addons.gpu_driver == "host":
        return {
            "image": whole(images["plugin"]),
            "tolerations": tolerations,
            "gfd": {"enabled": True},  # labels nodes with the product that pools select by
            **({"config": {"map": shared}} if (shared := _shared(config)) else {}),
            # All slices of a node are alike: each is a nvidia.com/gpu.
            **({"migStrategy": "single"} if any(p.sharing.kind == "mig" for p in config.node_pools) else {}),
        }
    return {
        **{name: {"enabled": True, **_image(images[name])} for name in ("driver", "toolkit")},
        "devicePlugin": {"enabled": True, **_image(images["devicePlugin"]), **_operators_config(config)},
        "operator": {**_image(images["operator"]), "cleanupCRD": True},
        "dcgmExporter": {
            "enabled": True,
            **_image(images["dcgmExporter"]),
            # What the dashboard and the alerts of GPUs read.
            "serviceMonitor": {"enabled": MONITORING.choice(config) != "off"},
        },
        "daemonsets": {"tolerations": tolerations},
    }


def _shared(config: StackConfig) -> dict[str, str]:
    """The device plugin's configurations by name; nodes without the label of one have `default`."""
    keys = {"time_slicing": "timeSlicing", "mps": "mps"}
    shared = {
        pool.name: {"sharing": {keys[pool.sharing.kind]: {"resources": [_replicas(pool.sharing.replicas)]}}}
        for pool in config.node_pools
        if DEVICE_PLUGIN_CONFIG in pool.labels
    }
    all_of_them = {"default": {}, **shared} if shared else {}
    return {name: yaml.safe_dump({"version": "v1", **one}) for name, one in all_of_them.items()}


def _replicas(count: int) -> Values:
    return {"name": RESOURCE, "replicas": count}


def _operators_config(config: StackConfig) -> Values:
    shared = _shared(config)
    name = "device-plugin-config"
    return {"config": {"create": True, "name": name, "default": "default", "data": shared}} if shared else {}


def _image(reference: str) -> Values:
    repository, _, tag = reference.rpartition(":")
    path = PurePosixPath(repository)
    return {"repository": str(path.parent), "image": path.name, "version": tag}


GPU = Addon(
    name="gpu",
    namespace="gpu-operator",
    needed=needed,
    chart=_chart,
    values=_values,
    kinds=(),
    after=("monitoring",),
    pod_security="privileged",  # drivers and device plugins work on the host's devices
)
