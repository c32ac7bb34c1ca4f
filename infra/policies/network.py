"""Rules about network policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.policies.manifest import PlannedResource
from infra.policies.pods import pods
from infra.policies.rule import stack_rule
from infra.policies.selection import selects
from infra.policies.values import UNKNOWN, any_unknown, lookup

SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})


@stack_rule(
    "default-deny",
    "Every pod denies all connections that are not explicitly allowed.",
    "Add a NetworkPolicy that selects the pod, with `policyTypes: [Ingress, Egress]` and no rules, and then one "
    "NetworkPolicy for each flow that is needed.",
)
def _default_deny(resources: Sequence[PlannedResource]) -> Iterator[tuple[PlannedResource, str]]:
    denying = [r for r in resources if r.is_a("networking.k8s.io", "NetworkPolicy") and _denies_by_default(r)]
    for resource in resources:
        if resource.namespace in SYSTEM:
            continue
        for pod in pods(resource):
            if pod.sets_identity and not any(selects(p, lookup(p.props, "spec", "podSelector"), pod) for p in denying):
                yield resource, f"no NetworkPolicy denies connections of {pod.path} by default"


def _denies_by_default(policy: PlannedResource) -> bool:
    spec = lookup(policy.props, "spec")
    types = lookup(spec, "policyTypes")
    rules = [lookup(spec, direction) for direction in ("ingress", "egress")]
    if any_unknown(spec, types, *rules):
        return True
    directions = types if isinstance(types, list) else []
    return all(d in directions or UNKNOWN in directions for d in ("Ingress", "Egress")) and not any(rules)
