"""KServe in Standard mode: InferenceServices become plain Deployments, without Knative and Istio."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, AddonPod, Values, repository_image
from infra.config import StackConfig
from infra.nodes.resources import Resources


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    del config
    return {
        "kserve": {
            "controller": {
                "deploymentMode": "Standard",
                **_image_values(images["controller"]),
                "rbacProxyImage": images["proxy"],
                # The stack's gateway calls the Service, so KServe needs no ingress.
                "gateway": {"disableIngressCreation": True},
            },
            "storage": _image_values(images["storage"]),
        }
    }


def _image_values(reference: str) -> Values:
    image = repository_image(reference)
    return {"image": image["repository"], "tag": image["tag"]}


KSERVE = Addon(
    name="kserve",
    namespace="kserve",
    needed=lambda config: any(m.engine == "kserve" for m in config.models),
    chart=lambda _: versions.KSERVE,
    values=_values,
    kinds=("inferenceservices.serving.kserve.io",),
    crds=versions.KSERVE_CRDS,
    pods=lambda _: (AddonPod("KServe's controller", Resources.parse("100m", "200Mi")),),
    after=("certificates",),
    webhooks=(9443,),  # which the chart cannot change
)
