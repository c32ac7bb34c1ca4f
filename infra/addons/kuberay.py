"""KubeRay: the operator that runs a RayService's Ray clusters."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, AddonPod, Values, repository_image
from infra.config import StackConfig
from infra.nodes.resources import Resources

REQUESTS = {"cpu": "100m", "memory": "256Mi"}


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    return {
        "image": repository_image(images["operator"]),
        "imagePullSecrets": [{"name": name} for name in config.image.pull_secrets],
        "resources": {"requests": REQUESTS, "limits": {"cpu": "500m", "memory": "512Mi"}},
        "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }


KUBERAY = Addon(
    name="kuberay",
    namespace="kuberay-system",
    needed=lambda _: True,
    chart=lambda _: versions.KUBERAY,
    values=_values,
    kinds=("rayclusters.ray.io", "rayjobs.ray.io", "rayservices.ray.io"),
    crds=versions.KUBERAY_CRDS,
    pods=lambda _: (AddonPod("KubeRay's operator", Resources.parse(REQUESTS["cpu"], REQUESTS["memory"])),),
)
