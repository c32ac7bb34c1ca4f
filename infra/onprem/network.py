"""The pods' network: kube-router, which routes between nodes and enforces NetworkPolicies."""

from __future__ import annotations

from infra.onprem.template import render
from infra.versions import KUBE_ROUTER

IMAGE = f"docker.io/cloudnativelabs/kube-router:v{'.'.join(map(str, KUBE_ROUTER.at_least))}"
WORKLOADS = ("daemonset/kube-router", "daemonset/kube-proxy", "deployment/coredns")
"""Of kube-system: with them, network, Services and names work."""


def network_manifest(image: str, pod_range: str, service_range: str, endpoint: str) -> str:
    """kube-router's objects; `image` may be one of a mirror."""
    return render("kube-router.yaml", image=image, pods=pod_range, services=service_range, server=endpoint)
