"""NVIDIA GPUs: one owner of the driver, one advertiser of `nvidia.com/gpu`.

Where the node's image brings the driver, the device plugin alone advertises; else NVIDIA's GPU operator owns
driver, container toolkit and device plugin together. Never both: two advertisers hand out the same GPU twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from infra import versions
from infra.addons.addon import Addon, Values, whole
from infra.config import StackConfig
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
        }
    return {
        **{name: {"enabled": True, **_image(images[name])} for name in ("driver", "toolkit", "devicePlugin")},
        "operator": {**_image(images["operator"]), "cleanupCRD": True},
        "dcgmExporter": {"enabled": True, **_image(images["dcgmExporter"])},
        "daemonsets": {"tolerations": tolerations},
    }


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
    pod_security="privileged",  # drivers and device plugins work on the host's devices
)
