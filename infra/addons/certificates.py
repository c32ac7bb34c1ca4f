"""cert-manager: certificates for the API's host, and for the webhooks of operators that need one."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, Values, whole
from infra.cluster_config import Existing
from infra.config import StackConfig


def needed(config: StackConfig) -> bool:
    """True when a certificate is to be made, or KServe's webhook needs one."""
    tls = config.ingress.tls
    # KServe's webhook wants a certificate; a KServe that is there already has its own.
    kserve = any(m.engine == "kserve" for m in config.models) and not isinstance(config.addons.kserve, Existing)
    return bool(tls and tls.issuer) or kserve


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    return {
        # Its chart upgrades the CRDs with itself.
        "crds": {"enabled": True, "keep": False},
        # It does not start with this where the cluster has no Gateway API.
        "config": {"enableGatewayAPI": config.ingress.kind == "gateway"},
        "image": whole(images["controller"]),
        **{name: {"image": whole(images[name])} for name in ("webhook", "cainjector", "acmesolver", "startupapicheck")},
    }


CERTIFICATES = Addon(
    name="certificates",
    namespace="cert-manager",
    needed=needed,
    chart=lambda _: versions.CERTIFICATES,
    values=_values,
    kinds=("certificates.cert-manager.io", "clusterissuers.cert-manager.io"),
    after=("gateway",),
)
