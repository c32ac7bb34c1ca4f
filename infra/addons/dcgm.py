"""NVIDIA's DCGM exporter: the metrics of GPUs, without which their alerts never fire.

NVIDIA's GPU operator brings its own; without it, this one runs on each node with GPUs, whoever advertises them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra import versions
from infra.addons import gpu
from infra.addons.addon import Addon, Values, repository_image
from infra.addons.monitoring import MONITORING
from infra.cluster_config import Existing
from infra.config import StackConfig
from infra.gpu.placement import CLOUD_PLUGIN, NODE_POOL_RULES
from infra.nodes.pools import POOL_LABEL
from monitoring.external import EXTERNAL

PRESENT = "nvidia.com/gpu.present"
"""Label of nodes with GPUs, by NVIDIA's feature discovery."""

GKE_DRIVER = "/home/kubernetes/bin/nvidia"
"""Where GKE installs the driver on a node; it has no container runtime that mounts it.

https://docs.cloud.google.com/kubernetes-engine/docs/how-to/gpus
"""

_DRIVER_MOUNT = "/usr/local/nvidia"
_COUNTERS = "exporter-metrics-volume"


def needed(config: StackConfig) -> bool:
    """Returns whether GPUs are used that no operator watches, by pods that Prometheus can find."""
    there = config.addons.gpu
    operator = isinstance(there, Existing) and there != CLOUD_PLUGIN  # what a cloud has, advertises and no more
    watched = config.addons.gpu_driver == "operator" or operator
    # In Autopilot no pod of ours may read the host.
    autopilot = config.target == "gcp" and config.gcp.autopilot
    return gpu.needed(config) and not watched and not autopilot and MONITORING.choice(config) != "off"


def counters() -> str:
    """Returns the metrics that alerts, rules and dashboards may use, in the exporter's format."""
    found = [series for series in EXTERNAL.values() if series.source == "dcgm"]
    return "".join(f"{each.name}, {each.kind}, {each.help.replace(',', ';')}\n" for each in found)


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    return {
        "fullnameOverride": "dcgm-exporter",
        "image": repository_image(images["exporter"]),
        "imagePullSecrets": [{"name": name} for name in config.image.pull_secrets],
        "customMetrics": counters(),
        "serviceMonitor": {"enabled": True},
        "tolerations": gpu.tolerations(config),
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [_nodes(config)]}]
                }
            }
        },
        **(_gke() if config.target == "gcp" else {}),
    }


def _nodes(config: StackConfig) -> dict[str, Any]:
    """Returns the requirement that nodes with GPUs meet: their pool's name where the stack has created them."""
    rules = NODE_POOL_RULES.get(config.target)
    pools = [pool.name for pool in rules.pools(config) if pool.gpus] if rules else []
    key, values = (POOL_LABEL, pools) if pools else (PRESENT, ["true"])
    return {"key": key, "operator": "In", "values": values}


def _gke() -> Values:
    """Returns what mounts GKE's driver, beside the mounts that the chart has."""
    items = [{"key": "metrics", "path": "default-counters.csv"}]
    return {
        "securityContext": {"privileged": True},
        "extraHostVolumes": [{"name": "driver", "hostPath": GKE_DRIVER}],
        "extraConfigMapVolumes": [
            {"name": _COUNTERS, "configMap": {"name": "exporter-metrics-config-map", "items": items}}
        ],
        "extraVolumeMounts": [
            {
                "name": _COUNTERS,
                "mountPath": "/etc/dcgm-exporter/default-counters.csv",
                "subPath": "default-counters.csv",
            },
            {"name": "driver", "mountPath": _DRIVER_MOUNT, "readOnly": True},
        ],
        "extraEnv": [{"name": "LD_LIBRARY_PATH", "value": f"{_DRIVER_MOUNT}/lib64"}],
    }


DCGM = Addon(
    name="dcgm",
    namespace="gpu-metrics",
    needed=needed,
    chart=lambda _: versions.DCGM_EXPORTER,
    values=_values,
    kinds=(),
    after=("monitoring", "gpu"),
    # It reads the devices and the kubelet's list of which pod has which.
    pod_security="privileged",
    critical=True,
)
