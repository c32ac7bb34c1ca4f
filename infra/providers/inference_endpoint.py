"""The address of an InferenceService, read from its status once KServe reports it ready."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from infra.kubernetes import cluster
from infra.kubernetes.kube_api import KubeApi
from infra.providers.cluster_api import cluster_api
from infra.resources.problem import Problem
from infra.resources.resource import Found, Resource, Task, Values

FAILED_STATES = ("BlockedByFailedLoad", "InvalidSpec")
"""Final values of `status.modelStatus.transitionStatus`, after which waiting is useless."""


class InferenceEndpointProvider(Resource):
    """Inputs: `kubeconfig` (path, or empty), `content` (of a kubeconfig, or empty), `context`, `namespace`, `name`
    (of the InferenceService), `address` (`cluster` or `external`), `timeout_s`, `revision` (digest of the
    InferenceService; after a change, `update` waits for its status again).

    Output: `url`, without path and trailing slash.
    """

    replace_on = frozenset({"namespace", "name"})
    computed = frozenset({"url"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        start = time.monotonic()
        shown = ""
        with cluster_api(new) as api:
            while True:
                service = _service(api, new)
                pending = _pending_conditions(service)
                if not pending:
                    return _id(new), {**new, "url": _url(service, new)}
                if failure := _failure(service):
                    raise Problem(f"InferenceService {_id(new)} failed: {failure}")
                if pending != shown:
                    task.say(pending)
                    shown = pending
                if time.monotonic() - start > new["timeout_s"]:
                    raise Problem(
                        f"InferenceService {_id(new)} is not ready after {new['timeout_s']:g} s: {pending}"
                        f"\nfor details, run kubectl describe inferenceservice -n {new['namespace']} {new['name']}"
                    )
                task.pause(1)

    def read(self, id: str, old: Values) -> Found:
        try:
            with cluster_api(old) as api:
                service = api.get(_path(old))
            if service is None:
                return Found()
            # A rollout keeps the address; a new address appears as a change.
            return Found(id, {**old, "url": _url(service, old)})
        except (Problem, cluster.ClusterUnusable):
            return Found(id, old)  # the cluster is unreachable: assume that nothing has changed

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Does nothing: this resource only reads."""


def _id(values: Values) -> str:
    return f"{values['namespace']}/{values['name']}"


def _path(values: Values) -> str:
    return f"/apis/serving.kserve.io/v1beta1/namespaces/{values['namespace']}/inferenceservices/{values['name']}"


def _service(api: KubeApi, values: Values) -> Values:
    service = api.get(_path(values))
    if service is None:
        raise Problem(
            f"there is no InferenceService {_id(values)}; create it or correct `existing`,"
            " and make sure that KServe's CRDs are installed"
        )
    return service


def _status(service: Values) -> Values:
    return dict(service.get("status") or {})


def _pending_conditions(service: Values) -> str:
    """Returns the conditions that are not met, as text; empty if the service is ready."""
    status = _status(service)
    conditions = {c.get("type"): c for c in status.get("conditions") or []}
    seen = status.get("observedGeneration")
    if seen is not None and seen < service["metadata"].get("generation", seen):
        return "KServe has not yet observed the latest version"
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    unmet = [
        _condition_text(c) for name, c in sorted(conditions.items()) if c.get("status") != "True" and name != "Ready"
    ]
    if unmet:
        return "; ".join(unmet)
    return _condition_text(conditions["Ready"]) if "Ready" in conditions else "KServe has not answered yet"


def _condition_text(condition: Values) -> str:
    text = ": ".join(str(condition[k]) for k in ("reason", "message") if condition.get(k))
    return f"{condition.get('type')} is {condition.get('status')}" + (f" ({text})" if text else "")


def _failure(service: Values) -> str:
    """Returns why KServe has given up; empty while it is still trying."""
    model = _status(service).get("modelStatus") or {}
    if model.get("transitionStatus") not in FAILED_STATES:
        return ""
    last = model.get("lastFailureInfo") or {}
    return ": ".join(str(x) for x in (model["transitionStatus"], last.get("reason"), last.get("message")) if x)


def _url(service: Values, values: Values) -> str:
    """Returns the address that requests are sent to.

    In Standard mode `status.url` is the host of an Ingress or HTTPRoute, which may not resolve inside the cluster,
    and `status.address.url` is that of the Service. Not all versions of KServe set both.
    """
    status = _status(service)
    inner = (status.get("address") or {}).get("url") if values["address"] == "cluster" else None
    url: Any = inner or status.get("url")
    parts = urlsplit(str(url or ""))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Problem(f"InferenceService {_id(values)} is ready, but has no address: status.url is {url!r}")
    return str(url).rstrip("/")
