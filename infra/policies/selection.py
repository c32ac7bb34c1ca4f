"""Matching of label selectors with pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.policies.manifest import PlannedResource
from infra.policies.pods import Pod
from infra.policies.values import UNKNOWN, any_unknown, known_fields, known_members, lookup


def selects(by: PlannedResource, selector: Any, pod: Pod) -> bool:
    """Returns whether a selector in the object `by` selects the pod. It applies to the object's namespace only."""
    namespaces = [lookup(r.props, "metadata", "namespace") for r in (by, pod.owner)]
    if not any_unknown(*namespaces) and namespaces[0] != namespaces[1]:
        return False
    labels = _pod_labels(pod)
    if selector is UNKNOWN or labels is UNKNOWN:
        return True
    if not isinstance(selector, Mapping):
        return False
    wanted = known_fields(lookup(selector, "matchLabels"))
    return all(lookup(labels, key) in (value, UNKNOWN) for key, value in wanted) and all(
        _matches(expression, labels) for expression in known_members(lookup(selector, "matchExpressions"))
    )


def _pod_labels(pod: Pod) -> Any:
    """Returns the labels that a pod will have, including those that KubeRay adds."""
    if pod.labels is UNKNOWN or not pod.ray:
        return pod.labels
    added = {"ray.io/node-type": pod.ray, "ray.io/is-ray-node": "yes", "ray.io/cluster": UNKNOWN}
    if pod.owner.kind == "RayService":
        added["ray.io/originated-from-cr-name"] = pod.owner.object_name
        added["ray.io/originated-from-crd"] = "RayService"
    stated = {k: lookup(pod.labels, k) for k in pod.labels} if isinstance(pod.labels, Mapping) else {}
    return {**added, "ray.io/group": lookup(pod.template_holder, "groupName"), **stated}


def _matches(expression: Any, labels: Any) -> bool:
    key, operator, values = (lookup(expression, k) for k in ("key", "operator", "values"))
    value = UNKNOWN if key is UNKNOWN else lookup(labels, str(key))
    if any_unknown(value, operator, values):
        return True
    listed = value in list(known_members(values))
    return {
        "In": listed,
        "NotIn": not listed,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(str(operator), False)
