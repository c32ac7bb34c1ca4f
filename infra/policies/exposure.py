"""Rules about what can be reached from outside the cluster."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from infra.policies import serve_config
from infra.policies.manifest import PlannedResource
from infra.policies.rule import resource_rule, stack_rule
from infra.policies.values import UNKNOWN, any_member, any_unknown, known_fields, known_members, lookup, satisfies

GATEWAYS = "gateway.networking.k8s.io"
APPLICATION = "headrace"
"""Name of the Serve application with the HTTP API: `serving.config.serve_document.APPLICATION`."""

REQUIRED_SETTINGS = (("limits", "in_flight"), ("limits", "queue"), ("key_secret",))
"""Settings of `serving.config.ServingConfig` that limit requests and verify API keys."""


@resource_rule(
    "load-balancer-sources",
    "Every load balancer restricts its source addresses.",
    "Set `spec.loadBalancerSourceRanges` to the networks of the users, not to the whole internet.",
)
def _sources(resource: PlannedResource) -> Iterator[str]:
    spec = lookup(resource.props, "spec")
    if not resource.is_a("", "Service") or lookup(spec, "type") != "LoadBalancer":
        return
    ranges = lookup(spec, "loadBalancerSourceRanges")
    if not any_member(ranges, lambda _: True):
        yield "the load balancer has no source ranges"
    for block in known_members(ranges):
        if _is_everyone(block):
            yield f"the load balancer is open to {block}"


def _is_everyone(block: Any) -> bool:
    try:
        return ipaddress.ip_network(str(block).strip(), strict=False).prefixlen == 0
    except ValueError:
        return False


@resource_rule(
    "ingress-tls",
    "Every Ingress uses TLS.",
    "List each host of `spec.rules` under `spec.tls`, with the name of the certificate's Secret.",
)
def _ingress(resource: PlannedResource) -> Iterator[str]:
    if not resource.is_a("networking.k8s.io", "Ingress"):
        return
    tls = lookup(resource.props, "spec", "tls")
    if not any_member(tls, lambda _: True):
        yield "the Ingress has no TLS"
        return
    for rule in known_members(lookup(resource.props, "spec", "rules")):
        host = lookup(rule, "host")
        if isinstance(host, str) and not any_member(tls, partial(_covers_host, host)):
            yield f"no TLS for the host {host}"


def _covers_host(host: str, tls: Any) -> bool:
    return any_member(lookup(tls, "hosts"), lambda name: name == host)


@stack_rule(
    "route-tls",
    "Every HTTPRoute uses TLS.",
    "Set `protocol: HTTPS` and a certificate in the Gateway's listener, and name that listener in the route's "
    "`parentRefs[].sectionName`. A route that only redirects to HTTPS may use a plain listener.",
)
def _routes(resources: Sequence[PlannedResource]) -> Iterator[tuple[PlannedResource, str]]:
    gateways = [r for r in resources if r.is_a(GATEWAYS, "Gateway")]
    for gateway in gateways:
        for listener in known_members(lookup(gateway.props, "spec", "listeners")):
            mode, certificates = lookup(listener, "tls", "mode"), lookup(listener, "tls", "certificateRefs")
            ends_tls = lookup(listener, "protocol") in ("HTTPS", "TLS") and mode != "Passthrough"
            if ends_tls and not any_unknown(mode) and not any_member(certificates, lambda _: True):
                yield gateway, f"the listener {lookup(listener, 'name')} has no certificate"
    for route in (r for r in resources if r.is_a(GATEWAYS, "HTTPRoute")):
        if _only_redirects(route):
            continue
        for parent in known_members(lookup(route.props, "spec", "parentRefs")):
            if lookup(parent, "kind") in (None, "Gateway") and (why := _plain_listener(route, parent, gateways)):
                yield route, why


def _plain_listener(route: PlannedResource, parent: Any, gateways: Sequence[PlannedResource]) -> str:
    name, section, port = (lookup(parent, key) for key in ("name", "sectionName", "port"))
    namespace = lookup(parent, "namespace") or lookup(route.props, "metadata", "namespace")
    if any_unknown(name, section, port, namespace):
        return ""
    if section is None and port is None:
        return f"the route names no listener of {name}, so it uses its plain ones too"
    parents = [g for g in gateways if g.object_name == name and (g.namespace == namespace or not g.namespace)]
    for listener in (x for g in parents for x in known_members(lookup(g.props, "spec", "listeners"))):
        chosen = lookup(listener, "name") == section if section is not None else lookup(listener, "port") == port
        if chosen and not satisfies(lookup(listener, "protocol"), lambda p: p == "HTTPS"):
            return f"the listener {lookup(listener, 'name')} of {name} is plain {lookup(listener, 'protocol')}"
    return "" if parents or section is not None or port == 443 else f"port {port} of {name} is not the HTTPS port"


def _only_redirects(route: PlannedResource) -> bool:
    rules = lookup(route.props, "spec", "rules")  # if they are unknown, the route may be a redirect
    return bool(rules) and all(
        any_member(lookup(rule, "filters"), lambda f: lookup(f, "requestRedirect", "scheme") in ("https", UNKNOWN))
        and lookup(rule, "backendRefs") in (None, [])
        for rule in known_members(rules)
    )


@stack_rule(
    "exposure-limits",
    "An application that is exposed outside the cluster limits its requests and requires API keys.",
    "Set `limits` (with `in_flight` and `queue`) and `key_secret` in the Serve application.",
)
def _limits(resources: Sequence[PlannedResource]) -> Iterator[tuple[PlannedResource, str]]:
    doors = [r for r in resources if _is_entry_point(r)]
    for service in (r for r in resources if r.is_a("ray.io", "RayService")):
        namespace = lookup(service.props, "metadata", "namespace")
        if not any(namespace == lookup(d.props, "metadata", "namespace") for d in doors):
            continue
        arguments = _application_arguments(lookup(service.props, "spec", "serveConfigV2"))
        for key in REQUIRED_SETTINGS:
            if arguments is not None and lookup(arguments, *key) is None:
                yield service, f"the application is exposed outside the cluster without {'.'.join(key)}"


def _is_entry_point(resource: PlannedResource) -> bool:
    if resource.is_a("", "Service"):
        return lookup(resource.props, "spec", "type") in ("LoadBalancer", "NodePort")
    return resource.is_a("networking.k8s.io", "Ingress") or resource.is_a(GATEWAYS, "HTTPRoute")


def _application_arguments(document: Any) -> Mapping[str, Any] | None:
    """Returns the arguments of the application with the HTTP API; None if they cannot be read."""
    for application in known_members(lookup(serve_config.read(document), "applications")):
        if lookup(application, "name") == APPLICATION:
            return dict(known_fields(lookup(application, "args")))
    return None
