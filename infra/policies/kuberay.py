"""Rules about Ray on Kubernetes, whose internal ports execute any code that they receive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.policies import serve_config
from infra.policies.manifest import PlannedResource
from infra.policies.pods import pods
from infra.policies.rule import resource_rule
from infra.policies.values import UNKNOWN, any_member, known_fields, known_members, lookup, satisfies

KINDS = ("RayService", "RayCluster", "RayJob")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SERVE_DRAIN_S = 20
"""Ray Serve's default of `graceful_shutdown_timeout_s`."""


def _head_start_params(resource: PlannedResource) -> Iterator[Any]:
    """Yields the start parameters of the Ray head."""
    if resource.is_a("ray.io", *KINDS):
        spec = lookup(resource.props, "spec")
        cluster = {"RayService": "rayClusterConfig", "RayJob": "rayClusterSpec"}.get(resource.kind)
        inner = lookup(spec, cluster) if cluster else spec
        # A RayJob may use an existing cluster.
        if inner is not None:
            yield lookup(inner, "headGroupSpec", "rayStartParams")


@resource_rule(
    "ray-token",
    "Every Ray container requires a token.",
    "Set `RAY_AUTH_MODE=token` and `RAY_AUTH_TOKEN_PATH` in every container that runs Ray, and mount the token "
    "there: without it, Ray's ports execute code from anyone.",
)
def _token(resource: PlannedResource) -> Iterator[str]:
    for pod in pods(resource):
        for container in (c for c in pod.containers if c.ray):
            environment = lookup(container.spec, "env")
            if not any_member(
                environment, lambda v: _sets_variable(v, "RAY_AUTH_MODE", lambda value: value == "token")
            ):
                yield f"{container.name} does not set RAY_AUTH_MODE=token"
            if not any_member(environment, lambda v: _sets_variable(v, "RAY_AUTH_TOKEN_PATH", bool)):
                yield f"{container.name} does not set RAY_AUTH_TOKEN_PATH"


def _sets_variable(variable: Any, name: str, test: Any) -> bool:
    return lookup(variable, "name") in (name, UNKNOWN) and satisfies(lookup(variable, "value"), test)


@resource_rule(
    "ray-dashboard-loopback",
    "Ray's dashboard listens on loopback only.",
    'Set `headGroupSpec.rayStartParams.dashboard-host: "127.0.0.1"`; the dashboard proxy in the head pod forwards only '
    "the requests of KubeRay.",
)
def _dashboard(resource: PlannedResource) -> Iterator[str]:
    for parameters in _head_start_params(resource):
        host = lookup(parameters, "dashboard-host")
        # By default KubeRay lets it listen on all addresses.
        if not satisfies(host, lambda h: h in LOOPBACK):
            yield f"Ray's dashboard listens on {host or 'all addresses'}"


@resource_rule(
    "ray-head-no-replicas",
    "No replica runs on the Ray head.",
    'Set `headGroupSpec.rayStartParams.num-cpus: "0"`; a replica that exhausts the memory would end the head too.',
)
def _head_cpus(resource: PlannedResource) -> Iterator[str]:
    for parameters in _head_start_params(resource):
        if not satisfies(lookup(parameters, "num-cpus"), lambda n: str(n) == "0"):
            yield "the Ray head offers CPUs to replicas"


@resource_rule(
    "ray-deletion-delay",
    "An old Ray cluster is not deleted before its streams have ended.",
    "Set `spec.rayClusterDeletionDelaySeconds` to at least the longest `graceful_shutdown_timeout_s` in the Serve "
    "document; otherwise KubeRay deletes the old cluster after 60 s and aborts its streams.",
)
def _delay(resource: PlannedResource) -> Iterator[str]:
    spec = lookup(resource.props, "spec")
    longest = _longest_drain(lookup(spec, "serveConfigV2"))
    delay = lookup(spec, "rayClusterDeletionDelaySeconds")
    stated = 60 if delay is None else delay
    if not satisfies(stated, lambda d: isinstance(d, int | float) and d >= longest):
        yield f"the old cluster is deleted after {stated} s, but a replica may drain for {longest:g} s"


def _longest_drain(document: Any) -> float:
    """Returns the longest drain time of a replica in seconds; 0 if the document cannot be read."""
    times = [
        dict(known_fields(deployment)).get("graceful_shutdown_timeout_s", SERVE_DRAIN_S)
        for application in known_members(lookup(serve_config.read(document), "applications"))
        for deployment in known_members(lookup(application, "deployments"))
    ]
    return max((float(t) for t in times if isinstance(t, int | float)), default=0)
