"""Rules about Ray on Kubernetes: its inner ports execute what they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from infra.policies.manifest import Resource
from infra.policies.pods import pods
from infra.policies.rule import resource_rule
from infra.policies.values import UNKNOWN, at, each, fields, holds, some

KINDS = ("RayService", "RayCluster", "RayJob")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SERVE_DRAIN_S = 20
"""Serve's own default of `graceful_shutdown_timeout_s`."""


def _heads(resource: Resource) -> Iterator[Any]:
    """Start parameters of Ray's head."""
    if resource.is_a("ray.io", *KINDS):
        spec = at(resource.props, "spec")
        cluster = {"RayService": "rayClusterConfig", "RayJob": "rayClusterSpec"}.get(resource.kind)
        inner = at(spec, cluster) if cluster else spec
        # A job may choose a cluster that exists.
        if inner is not None:
            yield at(inner, "headGroupSpec", "rayStartParams")


@resource_rule(
    "ray-token",
    "Every container of Ray asks for a token.",
    "Set `RAY_AUTH_MODE=token` and `RAY_AUTH_TOKEN_PATH` in every container that runs Ray, and mount the token "
    "there: Ray's ports execute what anybody sends them.",
)
def _token(resource: Resource) -> Iterator[str]:
    for pod in pods(resource):
        for container in (c for c in pod.containers if c.ray):
            environment = at(container.spec, "env")
            if not some(environment, lambda v: _sets(v, "RAY_AUTH_MODE", lambda value: value == "token")):
                yield f"{container.name} does not set RAY_AUTH_MODE=token"
            if not some(environment, lambda v: _sets(v, "RAY_AUTH_TOKEN_PATH", bool)):
                yield f"{container.name} does not set RAY_AUTH_TOKEN_PATH"


def _sets(variable: Any, name: str, test: Any) -> bool:
    return at(variable, "name") in (name, UNKNOWN) and holds(at(variable, "value"), test)


@resource_rule(
    "ray-dashboard-loopback",
    "Ray's dashboard listens on loopback only.",
    'Set `headGroupSpec.rayStartParams.dashboard-host: "127.0.0.1"`; the door in front of it lets through what '
    "KubeRay needs.",
)
def _dashboard(resource: Resource) -> Iterator[str]:
    for parameters in _heads(resource):
        host = at(parameters, "dashboard-host")
        # KubeRay's own default is every address.
        if not holds(host, lambda h: h in LOOPBACK):
            yield f"Ray's dashboard listens on {host or 'every address'}"


@resource_rule(
    "ray-head-no-replicas",
    "No replica runs on Ray's head.",
    'Set `headGroupSpec.rayStartParams.num-cpus: "0"`; a replica that takes all memory would take the head with it.',
)
def _head(resource: Resource) -> Iterator[str]:
    for parameters in _heads(resource):
        if not holds(at(parameters, "num-cpus"), lambda n: str(n) == "0"):
            yield "Ray's head offers CPUs to replicas"


@resource_rule(
    "ray-deletion-delay",
    "An old Ray cluster stays until its longest stream has ended.",
    "Set `spec.rayClusterDeletionDelaySeconds` to at least the longest `graceful_shutdown_timeout_s` of the Serve "
    "document; KubeRay deletes the old cluster after 60 s else, and cuts its streams off.",
)
def _delay(resource: Resource) -> Iterator[str]:
    spec = at(resource.props, "spec")
    longest = _longest(at(spec, "serveConfigV2"))
    delay = at(spec, "rayClusterDeletionDelaySeconds")
    stated = 60 if delay is None else delay
    if not holds(stated, lambda d: isinstance(d, int | float) and d >= longest):
        yield f"the old cluster is deleted after {stated} s, a replica may drain for {longest:g} s"


def _longest(document: Any) -> float:
    """The longest time that a replica may drain, in seconds; 0 where the document cannot be read."""
    try:
        read = yaml.safe_load(document) if isinstance(document, str) else None
    except yaml.YAMLError:
        return 0
    times = [
        dict(fields(deployment)).get("graceful_shutdown_timeout_s", SERVE_DRAIN_S)
        for application in each(at(read, "applications"))
        for deployment in each(at(application, "deployments"))
    ]
    return max((float(t) for t in times if isinstance(t, int | float)), default=0)
