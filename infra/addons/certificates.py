"""cert-manager: issues certificates for the API's host name and for operators' webhooks."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, Values, repository_image
from infra.cluster_config import Existing
from infra.config import StackConfig


def needed(config: StackConfig) -> bool:
    """Returns whether the ingress has an issuer, or KServe is installed, whose webhook needs a certificate."""
    tls = config.ingress.tls
    # An existing KServe already has a certificate for its webhook.
    kserve = any(m.engine == "kserve" for m in config.models) and not isinstance(config.addons.kserve, Existing)
    return bool(tls and tls.issued) or kserve


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    return {
        # The chart upgrades the CRDs with the release.
        "crds": {"enabled": True, "keep": False},
        # With this option cert-manager does not start in clusters without the Gateway API.
        "config": {"enableGatewayAPI": config.ingress.kind == "gateway"},
        "image": repository_image(images["controller"]),
        **{
            name: {"image": repository_image(images[name])}
            for name in ("webhook", "cainjector", "acmesolver", "startupapicheck")
        },
    }


CERTIFICATES = Addon(
    name="certificates",
    namespace="cert-manager",
    needed=needed,
    chart=lambda _: versions.CERTIFICATES,
    values=_values,
    kinds=("certificates.cert-manager.io", "clusterissuers.cert-manager.io"),
    after=("gateway",),
    webhooks=(10250,),
)
