"""What a cluster holds, to compare before and after."""

from __future__ import annotations

from tools.cluster.kubectl import kubectl

# What Kubernetes itself writes down about what went on, and forgets by itself.
FLEETING = {
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "pods",  # those of Kubernetes' own controllers, whose names change; ours end with what made them
}


def objects() -> set[str]:
    """Every object of every kind in every namespace, as `namespace kind/name`."""
    listed = kubectl("api-resources", "--verbs=list", "--output=name", "--cached=false").split()
    kinds = sorted(set(listed) - FLEETING)
    columns = "-o=custom-columns=N:.metadata.namespace,K:.kind,I:.metadata.name"
    rows = kubectl("get", ",".join(kinds), "--all-namespaces", "--no-headers", "--ignore-not-found", columns)
    return {" ".join(row.split()) for row in rows.splitlines()}
