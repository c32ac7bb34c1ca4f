"""The pod network: kube-router, which routes between nodes and enforces NetworkPolicies."""

from __future__ import annotations

from infra.onprem.template import render
from infra.programs import KUBE_ROUTER

IMAGE = f"docker.io/cloudnativelabs/kube-router:v{'.'.join(map(str, KUBE_ROUTER.at_least))}"
WORKLOADS = ("daemonset/kube-router", "daemonset/kube-proxy", "deployment/coredns")
"""Workloads of kube-system that provide the network, Services and DNS."""


def network_manifest(image: str, pod_range: str, service_range: str, endpoint: str) -> str:
    """Returns kube-router's objects; `image` may come from a mirror."""
    return render("kube-router.yaml", image=image, pods=pod_range, services=service_range, server=endpoint)
