"""Rules about what can be reached from outside of the cluster."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import yaml

from infra.policies.manifest import Resource
from infra.policies.rule import resource_rule, stack_rule
from infra.policies.values import UNKNOWN, at, each, fields, holds, some, unknown

GATEWAYS = "gateway.networking.k8s.io"
APPLICATION = "headrace"
"""The Serve application that has the HTTP API: `serving.config.serve_document.APPLICATION`."""

NEEDED = (("limits", "in_flight"), ("limits", "queue"), ("key_secret",))
"""Of `serving.config.ServingConfig`, what bounds requests and what keys are held against."""


@resource_rule(
    "load-balancer-sources",
    "Every load balancer says who may reach it.",
    "Set `spec.loadBalancerSourceRanges` to the networks of the users, not to the whole internet.",
)
def _sources(resource: Resource) -> Iterator[str]:
    spec = at(resource.props, "spec")
    if not resource.is_a("", "Service") or at(spec, "type") != "LoadBalancer":
        return
    ranges = at(spec, "loadBalancerSourceRanges")
    if not some(ranges, lambda _: True):
        yield "the load balancer has no source ranges"
    for block in each(ranges):
        if _is_everyone(block):
            yield f"the load balancer is open to {block}"


def _is_everyone(block: Any) -> bool:
    try:
        return ipaddress.ip_network(str(block).strip(), strict=False).prefixlen == 0
    except ValueError:
        return False


@resource_rule(
    "ingress-tls",
    "Every Ingress is reached by TLS.",
    "List each host of `spec.rules` under `spec.tls`, with the name of the certificate's Secret.",
)
def _ingress(resource: Resource) -> Iterator[str]:
    if not resource.is_a("networking.k8s.io", "Ingress"):
        return
    tls = at(resource.props, "spec", "tls")
    if not some(tls, lambda _: True):
        yield "the Ingress has no TLS"
        return
    for rule in each(at(resource.props, "spec", "rules")):
        host = at(rule, "host")
        if isinstance(host, str) and not some(tls, partial(_names, host)):
            yield f"no TLS for the host {host}"


def _names(host: str, tls: Any) -> bool:
    return some(at(tls, "hosts"), lambda name: name == host)


@stack_rule(
    "route-tls",
    "Every HTTPRoute is reached by TLS.",
    "Give the Gateway's listener `protocol: HTTPS` with a certificate, and name that listener in the route's "
    "`parentRefs[].sectionName`. A route that only redirects to HTTPS may be on a plain listener.",
)
def _routes(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    gateways = [r for r in resources if r.is_a(GATEWAYS, "Gateway")]
    for gateway in gateways:
        for listener in each(at(gateway.props, "spec", "listeners")):
            mode, certificates = at(listener, "tls", "mode"), at(listener, "tls", "certificateRefs")
            ends_tls = at(listener, "protocol") in ("HTTPS", "TLS") and mode != "Passthrough"
            if ends_tls and not unknown(mode) and not some(certificates, lambda _: True):
                yield gateway, f"the listener {at(listener, 'name')} has no certificate"
    for route in (r for r in resources if r.is_a(GATEWAYS, "HTTPRoute")):
        if _only_redirects(route):
            continue
        for parent in each(at(route.props, "spec", "parentRefs")):
            if at(parent, "kind") in (None, "Gateway") and (why := _plain(route, parent, gateways)):
                yield route, why


def _plain(route: Resource, parent: Any, gateways: Sequence[Resource]) -> str:
    name, section, port = (at(parent, key) for key in ("name", "sectionName", "port"))
    namespace = at(parent, "namespace") or at(route.props, "metadata", "namespace")
    if unknown(name, section, port, namespace):
        return ""
    if section is None and port is None:
        return f"the route names no listener of {name}: it is on the plain ones too"
    ours = [g for g in gateways if g.object_name == name and (g.namespace == namespace or not g.namespace)]
    for listener in (x for g in ours for x in each(at(g.props, "spec", "listeners"))):
        chosen = at(listener, "name") == section if section is not None else at(listener, "port") == port
        if chosen and not holds(at(listener, "protocol"), lambda p: p == "HTTPS"):
            return f"the listener {at(listener, 'name')} of {name} is plain {at(listener, 'protocol')}"
    return "" if ours or section is not None or port == 443 else f"port {port} of {name} is not that of HTTPS"


def _only_redirects(route: Resource) -> bool:
    rules = at(route.props, "spec", "rules")  # where they are not known, the route may be one that redirects
    return bool(rules) and all(
        some(at(rule, "filters"), lambda f: at(f, "requestRedirect", "scheme") in ("https", UNKNOWN))
        and at(rule, "backendRefs") in (None, [])
        for rule in each(rules)
    )


@stack_rule(
    "exposure-limits",
    "What is reached from outside bounds its requests and asks for a key.",
    "Give the Serve application `limits` (with `in_flight` and `queue`) and a `key_secret`.",
)
def _limits(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    doors = [r for r in resources if _is_door(r)]
    for service in (r for r in resources if r.is_a("ray.io", "RayService")):
        namespace = at(service.props, "metadata", "namespace")
        if not any(namespace == at(d.props, "metadata", "namespace") for d in doors):
            continue
        arguments = _arguments(at(service.props, "spec", "serveConfigV2"))
        for key in NEEDED:
            if arguments is not None and at(arguments, *key) is None:
                yield service, f"the application is open to the outside without {'.'.join(key)}"


def _is_door(resource: Resource) -> bool:
    if resource.is_a("", "Service"):
        return at(resource.props, "spec", "type") in ("LoadBalancer", "NodePort")
    return resource.is_a("networking.k8s.io", "Ingress") or resource.is_a(GATEWAYS, "HTTPRoute")


def _arguments(document: Any) -> Mapping[str, Any] | None:
    """What the application with the HTTP API is told; `None` when that cannot be read."""
    try:
        read = yaml.safe_load(document) if isinstance(document, str) else None
    except yaml.YAMLError:
        return None
    for application in each(at(read, "applications")):
        if at(application, "name") == APPLICATION:
            return dict(fields(at(application, "args")))
    return None
