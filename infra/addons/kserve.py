"""KServe in Standard mode: InferenceServices as plain Deployments, without Knative and Istio."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, Values, whole
from infra.config import StackConfig


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    del config
    return {
        "kserve": {
            "controller": {
                "deploymentMode": "Standard",
                **_image(images["controller"]),
                "rbacProxyImage": images["proxy"],
                # The gateway asks the Service; nothing of KServe is reachable from outside.
                "gateway": {"disableIngressCreation": True},
            },
            "storage": _image(images["storage"]),
        }
    }


def _image(reference: str) -> Values:
    image = whole(reference)
    return {"image": image["repository"], "tag": image["tag"]}


KSERVE = Addon(
    name="kserve",
    namespace="kserve",
    needed=lambda config: any(m.engine == "kserve" for m in config.models),
    chart=lambda _: versions.KSERVE,
    values=_values,
    kinds=("inferenceservices.serving.kserve.io",),
    crds=versions.KSERVE_CRDS,
    after=("certificates",),
)
