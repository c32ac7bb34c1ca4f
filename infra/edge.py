"""The way from a client to the API: the load balancer before Envoy, its connections, and the certificate's issuer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from infra.ingress_config import zone_name
from infra.mistakes import Mistake

if TYPE_CHECKING:
    from infra.config import StackConfig
    from infra.ingress_config import Acme

CLASS = "headrace"
"""The GatewayClass of the stack's Envoy Gateway."""

GATEWAY = "headrace"
"""The Gateway of the chart, by the name of its release."""

ISSUER = "headrace-acme"
ISSUER_S = 300
"""The issuer is ready when the ACME server has an account for it."""

KEEPALIVE = {"idleTime": "50s", "interval": "50s", "probes": 3}
"""A probe counts as traffic for a load balancer that passes TCP on, and none forgets a connection before 60 s.

A model that thinks sends nothing for minutes: 350 s are AWS' limit, 4 minutes Azure's, 10 minutes Google's.
https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html#connection-idle-timeout,
https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset,
https://docs.cloud.google.com/load-balancing/docs/passthrough-network-load-balancer-tracking
"""

_AWS = "service.beta.kubernetes.io/aws-load-balancer-"
_AZURE = "service.beta.kubernetes.io/azure-load-balancer-"

ANNOTATIONS: Mapping[str, Mapping[str, str]] = {
    # Else EKS makes a Classic Load Balancer, which ends connections after 60 s, and hides the caller's address.
    "aws": {
        f"{_AWS}type": "nlb",
        # Each of its addresses leads to every node that has an Envoy, whatever its zone.
        f"{_AWS}cross-zone-load-balancing-enabled": "true",
    },
    "aws auto": {
        f"{_AWS}scheme": "internet-facing",
        f"{_AWS}attributes": "load_balancing.cross_zone.enabled=true",
        # Its targets are pods, which see the balancer's address unless told otherwise.
        f"{_AWS}target-group-attributes": "preserve_client_ip.enabled=true",
    },
    "azure": {f"{_AZURE}tcp-idle-timeout": "30"},  # minutes, the most that Azure takes
}
"""What a cloud's load balancer needs to be told, by target and mode. Google's needs nothing.

https://cloud-provider-aws.sigs.k8s.io/service_controller/,
https://docs.aws.amazon.com/eks/latest/userguide/auto-configure-nlb.html,
https://cloud-provider-azure.sigs.k8s.io/topics/loadbalancer/
"""

ZONES: Mapping[str, tuple[str, str]] = {
    "aws": (r"Z[A-Z0-9]{6,31}", "`aws route53 list-hosted-zones` prints its id, such as Z0123456789ABCDEFGHIJ"),
    "gcp": (r"[a-z][-a-z0-9]{0,62}", "`gcloud dns managed-zones list` prints its name"),
    "azure": (
        r"/subscriptions/[-0-9a-f]{36}/resourceGroups/[^/]+/providers/Microsoft\.Network/dns[zZ]ones/[^/]+",
        "`az network dns zone show --query id` prints it",
    ),
}
"""What a DNS zone is called in each cloud, and what prints it."""

INTERNAL: Mapping[str, str] = {
    f"{_AWS}internal": "true",
    f"{_AWS}scheme": "internal",
    f"{_AZURE}internal": "true",
    "networking.gke.io/load-balancer-type": "internal",
}
"""Annotations with the value, in small letters, that gives a load balancer no public address."""

AUTO_MODE_CLASS = "eks.amazonaws.com/nlb"


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports a DNS zone that the stack's cloud cannot have, or that cannot have the host."""
    zone, host, key = config.ingress.zone, config.ingress.host or "", "ingress.zone"
    if not zone:
        return []
    if config.target not in ZONES:
        problem = f"is a zone of a cloud; this stack's target is {config.target}"
        return [Mistake(key, problem, "remove it, and make the record yourself")]
    pattern, fix = ZONES[config.target]
    if not re.fullmatch(pattern, zone):
        return [Mistake(key, f"'{zone[:80]}' is not a zone of this cloud", fix)]
    if config.target == "azure" and zone.split("/")[2] != config.azure.subscription:
        return [Mistake(key, "is in another subscription than azure.subscription", "make the record yourself")]
    if config.target == "azure" and not host.endswith(f".{zone_name(zone)}"):
        return [Mistake(key, f"{zone_name(zone)} has no room for {host}", "name the zone of the host's domain")]
    for name, value in config.ingress.annotations.items():
        if value.lower() == INTERNAL.get(name):
            problem = f"has public addresses, but the annotation {name} makes the load balancer internal"
            return [Mistake(key, problem, "remove one of them; make the record of an internal one yourself")]
    if config.target == "aws" and config.cluster.network.existing:
        problem = "needs public subnets that the stack knows, but the network exists"
        return [Mistake(key, problem, "remove it, and make the record yourself")]
    return []


def service(config: StackConfig) -> dict[str, Any]:
    """Returns the settings of Envoy's Service, to which annotations of the Gateway are added.

    Nodes pass on only what their own Envoy answers, so that it sees the caller's address.
    """
    auto = config.target == "aws" and config.aws.mode == "auto"
    known = ANNOTATIONS.get("aws auto" if auto else config.target, {})
    # Envoy Gateway prefers these to the Gateway's.
    own = {key: value for key, value in known.items() if key not in config.ingress.annotations}
    return {
        "externalTrafficPolicy": "Local",
        **({"loadBalancerClass": AUTO_MODE_CLASS} if auto else {}),
        **({"annotations": own} if own else {}),
    }


def objects(config: StackConfig) -> Iterator[dict[str, Any]]:
    """Yields objects in the stack's namespace: the policy of Envoy's connections, and the certificate's issuer."""
    ingress = config.ingress
    if ingress.kind == "gateway" and not ingress.gateway and ingress.class_name in ("", CLASS):
        yield {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "ClientTrafficPolicy",
            "metadata": {"name": GATEWAY},
            "spec": {
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": GATEWAY}],
                "tcpKeepalive": KEEPALIVE,
            },
        }
    if ingress.tls and ingress.tls.acme:
        timeout = {"pulumi.com/waitFor": "condition=Ready", "pulumi.com/timeoutSeconds": str(ISSUER_S)}
        yield {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Issuer",
            "metadata": {"name": ISSUER, "annotations": timeout},
            "spec": {"acme": _acme(config, ingress.tls.acme)},
        }


def _acme(config: StackConfig, acme: Acme) -> dict[str, Any]:
    """Returns an issuer whose server asks at port 80, where the Gateway or the Ingress controller listens."""
    name = config.ingress.class_name
    solver: dict[str, Any] = (
        {"gatewayHTTPRoute": {"parentRefs": [{"kind": "Gateway", "name": GATEWAY, "sectionName": "http-0"}]}}
        if config.ingress.kind == "gateway"
        else {"ingress": {"ingressClassName": name} if name else {}}
    )
    return {
        "server": acme.server,
        "email": acme.email,
        "privateKeySecretRef": {"name": f"{ISSUER}-account"},
        "solvers": [{"http01": solver}],
    }
