"""The peers of the chart's network policies: who may connect to the stack, and what it may connect to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from infra import apps
from infra.addons import gateway, postgres
from infra.addons.addon import Addon
from infra.cluster_config import Existing
from infra.config import StackConfig
from infra.resources.provisioned_cluster import IdentityEndpoint
from serving.config import KServeModel, RemoteModel, VllmModel

Values = dict[str, Any]

ANYWHERE: Values = {"ipBlock": {"cidr": "0.0.0.0/0"}}
PROMETHEUS_PORT = 9090
DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432}


def namespace_peer(name: str) -> Values:
    """Returns the peer that selects all pods of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def policy_values(
    config: StackConfig,
    operator: Addon,
    monitoring: Addon,
    identity: Sequence[IdentityEndpoint] = (),
    dns: Sequence[Mapping[str, Any]] = (),
) -> Values:
    """Returns the chart's `networkPolicy` values.

    `identity` are the endpoints that issue the pods' cloud identity, `dns` the peers that answer DNS requests (none:
    the pods of kube-dns).
    """
    tokens = [_rule({"ipBlock": {"cidr": end.cidr}}, end.port) for end in identity]
    values: Values = {
        "api": {"from": _callers(config)},
        "operator": {"from": [namespace_peer(_addon_namespace(config, operator))]},
        "metrics": {
            "from": [] if monitoring.choice(config) == "off" else [namespace_peer(_addon_namespace(config, monitoring))]
        },
        "database": _database(config),
        "models": [*_models(config), *(tokens if _asks_identity(config) else [])],
        "prometheus": _prometheus(config, monitoring),
        "identity": tokens,
    }
    if dns:
        values["dns"] = {"to": [dict(peer) for peer in dns]}
    if config.data.uri:
        endpoint = config.data.endpoint
        # A cloud's object store has many changing addresses.
        to, port = _url_peer(endpoint, config.kubernetes.namespace) if endpoint else (ANYWHERE, 443)
        values["bucket"] = {"to": [to], "port": port}
    if config.autoscaled:
        values["apiServer"] = {"to": [ANYWHERE]}  # the addresses depend on the cluster and are unknown here
    return values


def _addon_namespace(config: StackConfig, addon: Addon) -> str:
    choice = getattr(config.addons, addon.name)
    return (choice.namespace or addon.namespace) if isinstance(choice, Existing) else addon.namespace


def _callers(config: StackConfig) -> list[Values]:
    """Returns the peers that may call the API: pods in the stack's namespace, and those of the ingress."""
    callers: list[Values] = [{"podSelector": {}}]
    if config.ingress.kind == "ingress" or config.ingress.gateway:
        callers.append({"namespaceSelector": {}})  # the namespace of an existing controller is unknown here
    elif config.ingress.kind == "gateway":
        callers.append(namespace_peer(_addon_namespace(config, gateway.GATEWAY)))
    if config.kubernetes.service_type != "ClusterIP":
        callers += [{"ipBlock": {"cidr": str(cidr)}} for cidr in config.kubernetes.source_ranges]
    return callers


def _database(config: StackConfig) -> Values:
    if config.database.kind == "cloudnativepg":
        return {"to": [{"podSelector": {"matchLabels": {"cnpg.io/cluster": postgres.CLUSTER}}}], "port": 5432}
    to, port = _url_peer(config.database.url, config.kubernetes.namespace)
    return {"to": [to], "port": port}


def _models(config: StackConfig) -> list[Values]:
    """Returns the egress rules for remote models, sources of weights, tools and identity providers."""
    ends = []
    own = config.kubernetes.namespace
    for model in (*config.models, *apps.unpacked(config)):
        if isinstance(model, RemoteModel):
            ends.append(_url_peer(model.url, own))
        elif isinstance(model, KServeModel):
            ends.append(
                _url_peer(model.url, own) if model.url else (namespace_peer(_service_namespace(model, own)), 8080)
            )
        elif isinstance(model, VllmModel):
            endpoints = [model.endpoint_of(source) for source in model.remote_sources]
            # The Hub and the clouds' object stores have many changing addresses.
            ends += [_url_peer(url, own) if url else (ANYWHERE, 443) for url in endpoints]
        elif model.downloads:
            ends.append((ANYWHERE, 443))
    for tool in config.tools:
        ends += [_url_peer(url, own) for url in tool.urls]
    ends += [_url_peer(issuer.issuer, own) for issuer in config.oidc.issuers]
    rules = [_rule(to, port) for to, port in ends]
    return [rule for i, rule in enumerate(rules) if rule not in rules[:i]]


def _prometheus(config: StackConfig, monitoring: Addon) -> list[Values]:
    """Returns the egress rules for the Prometheus from which the console draws."""
    if url := config.prometheus.url:
        return [_rule(*_url_peer(url, config.kubernetes.namespace))]
    installed = monitoring.choice(config) == "install"
    return [_rule(namespace_peer(monitoring.namespace), PROMETHEUS_PORT)] if installed else []


def _asks_identity(config: StackConfig) -> bool:
    """Returns whether weights are in a bucket that pods open by their cloud identity."""
    return any(model.identity_sources for model in config.models if isinstance(model, VllmModel))


def _rule(to: Values, port: int) -> Values:
    return {"to": [to], "ports": [{"protocol": "TCP", "port": port}]}


def _service_namespace(model: KServeModel, own: str) -> str:
    return (model.existing or "").rpartition("/")[0] or own


def _url_peer(url: str, own: str) -> tuple[Values, int]:
    """Returns peer and port of a URL: the namespace of a Service, or any address for other hosts."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme.partition("+")[0]]
    labels = (parts.hostname or "").split(".")
    if len(labels) == 1:
        return namespace_peer(own), port
    if labels[2:3] == ["svc"]:
        return namespace_peer(labels[1]), port
    return ANYWHERE, port
