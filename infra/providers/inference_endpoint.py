"""Where an InferenceService answers: read from its status, once KServe says that it is ready."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from infra.cluster_config import Kubernetes
from infra.providers.problem import Problem
from infra.providers.resource import Found, Resource, Task, Values
from infra.targets import cluster
from infra.targets.kube_api import Api, connected

GIVEN_UP = ("BlockedByFailedLoad", "InvalidSpec")
"""Values of `status.modelStatus.transitionStatus` that no waiting changes."""


class InferenceEndpoint(Resource):
    """Inputs: `kubeconfig` (path, or empty), `content` (a kubeconfig itself, or empty), `context`, `namespace`,
    `name` (of the InferenceService), `address` (`cluster` or `external`), `timeout_s`, `revision` (of what KServe
    is asked for: after a change its status is waited for again).

    Outputs: `url`, without a path and a trailing slash.
    """

    replace_on = frozenset({"namespace", "name"})
    computed = frozenset({"url"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        start = time.monotonic()
        said = ""
        with _api(new) as api:
            while True:
                service = _service(api, new)
                waiting = _waiting(service)
                if not waiting:
                    return _id(new), {**new, "url": _url(service, new)}
                if failed := _failed(service):
                    raise Problem(f"InferenceService {_id(new)} failed: {failed}")
                if waiting != said:
                    task.say(waiting)
                    said = waiting
                if time.monotonic() - start > new["timeout_s"]:
                    raise Problem(
                        f"InferenceService {_id(new)} is not ready after {new['timeout_s']:g} s: {waiting}"
                        f"\nkubectl describe inferenceservice -n {new['namespace']} {new['name']} says more"
                    )
                task.pause(1)

    def read(self, id: str, old: Values) -> Found:
        try:
            with _api(old) as api:
                service = api.get(_path(old))
            if service is None:
                return Found()
            # One that is being rolled out keeps its address; a new address shows as a change.
            return Found(id, {**old, "url": _url(service, old)})
        except (Problem, cluster.Unusable):
            return Found(id, old)  # whether it is there shows when the cluster answers again

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        return self.create(new, task)[1]

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Nothing is left: this resource only looks."""


def _id(values: Values) -> str:
    return f"{values['namespace']}/{values['name']}"


def _path(values: Values) -> str:
    return f"/apis/serving.kserve.io/v1beta1/namespaces/{values['namespace']}/inferenceservices/{values['name']}"


@contextmanager
def _api(values: Values) -> Iterator[Api]:
    settings = Kubernetes(kubeconfig=values["kubeconfig"], context=values["context"])
    try:
        with connected(cluster.read(settings, values["content"])) as api:
            yield api
    except cluster.Unusable as e:
        raise Problem(str(e.mistake)) from None


def _service(api: Api, values: Values) -> Values:
    service = api.get(_path(values))
    if service is None:
        raise Problem(
            f"there is no InferenceService {_id(values)}; create it, or correct `existing`,"
            " and see that KServe's CRDs are installed"
        )
    return service


def _status(service: Values) -> Values:
    return dict(service.get("status") or {})


def _waiting(service: Values) -> str:
    """Returns what is waited for, in the conditions' own words; empty when the service is ready."""
    status = _status(service)
    conditions = {c.get("type"): c for c in status.get("conditions") or []}
    seen = status.get("observedGeneration")
    if seen is not None and seen < service["metadata"].get("generation", seen):
        return "KServe has not yet seen the newest version"
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    open_ = [_words(c) for name, c in sorted(conditions.items()) if c.get("status") != "True" and name != "Ready"]
    return "; ".join(open_) or (_words(conditions["Ready"]) if "Ready" in conditions else "KServe has not answered yet")


def _words(condition: Values) -> str:
    text = ": ".join(str(condition[k]) for k in ("reason", "message") if condition.get(k))
    return f"{condition.get('type')} is {condition.get('status')}" + (f" ({text})" if text else "")


def _failed(service: Values) -> str:
    """Returns why KServe has given up; empty while it tries."""
    model = _status(service).get("modelStatus") or {}
    if model.get("transitionStatus") not in GIVEN_UP:
        return ""
    last = model.get("lastFailureInfo") or {}
    return ": ".join(str(x) for x in (model["transitionStatus"], last.get("reason"), last.get("message")) if x)


def _url(service: Values, values: Values) -> str:
    """The address to relay to.

    In Standard mode `status.url` is the host of an Ingress or HTTPRoute, which need not resolve inside the cluster;
    `status.address.url` is the Service's. Not every version fills in both.
    """
    status = _status(service)
    inner = (status.get("address") or {}).get("url") if values["address"] == "cluster" else None
    url: Any = inner or status.get("url")
    parts = urlsplit(str(url or ""))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Problem(f"InferenceService {_id(values)} is ready, and its status has no address: status.url is {url!r}")
    return str(url).rstrip("/")
