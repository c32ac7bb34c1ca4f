"""Who may talk to the stack and to whom it may talk: peers of the chart's network policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from infra.addons import gateway, postgres
from infra.addons.addon import Addon
from infra.cluster_config import Existing
from infra.config import StackConfig
from infra.targets.provisioned import Egress
from serving.config import HttpTool, KServeModel, McpTool, RemoteModel, VllmModel

Values = dict[str, Any]

ANYWHERE: Values = {"ipBlock": {"cidr": "0.0.0.0/0"}}
DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432}


def namespace(name: str) -> Values:
    """Every pod of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def peers(config: StackConfig, operator: Addon, monitoring: Addon, identity: Sequence[Egress] = ()) -> Values:
    """The chart's `networkPolicy`; `identity` is where pods get the identity that may use the bucket."""
    values: Values = {
        "api": {"from": _callers(config)},
        "operator": {"from": [namespace(_home(config, operator))]},
        "metrics": {"from": [] if monitoring.choice(config) == "off" else [namespace(_home(config, monitoring))]},
        "database": _database(config),
        "models": _models(config),
        "identity": [_rule({"ipBlock": {"cidr": end.cidr}}, end.port) for end in identity],
    }
    if config.data.uri:
        endpoint = config.data.endpoint
        # A cloud's own object store has many addresses.
        to, port = _end(endpoint, config.kubernetes.namespace) if endpoint else (ANYWHERE, 443)
        values["bucket"] = {"to": [to], "port": port}
    if any(pool.max_replicas for pool in config.pools):
        values["apiServer"] = {"to": [ANYWHERE]}  # its addresses are the cluster's, and not known here
    return values


def _home(config: StackConfig, addon: Addon) -> str:
    said = getattr(config.addons, addon.name)
    return (said.namespace or addon.namespace) if isinstance(said, Existing) else addon.namespace


def _callers(config: StackConfig) -> list[Values]:
    """Pods beside the stack's, and the way in from outside."""
    callers: list[Values] = [{"podSelector": {}}]
    if config.ingress.kind == "ingress" or config.ingress.gateway:
        callers.append({"namespaceSelector": {}})  # where a controller that is there runs is not known here
    elif config.ingress.kind == "gateway":
        callers.append(namespace(_home(config, gateway.GATEWAY)))
    if config.kubernetes.service_type != "ClusterIP":
        callers += [{"ipBlock": {"cidr": str(cidr)}} for cidr in config.kubernetes.source_ranges]
    return callers


def _database(config: StackConfig) -> Values:
    if config.database.kind == "cloudnativepg":
        return {"to": [{"podSelector": {"matchLabels": {"cnpg.io/cluster": postgres.CLUSTER}}}], "port": 5432}
    to, port = _end(config.database.url, config.kubernetes.namespace)
    return {"to": [to], "port": port}


def _models(config: StackConfig) -> list[Values]:
    """Egress to models that are elsewhere, where weights come from, what tools reach, and identity providers."""
    ends = []
    own = config.kubernetes.namespace
    for model in config.models:
        if isinstance(model, RemoteModel):
            ends.append(_end(model.url, own))
        elif isinstance(model, KServeModel):
            ends.append(_end(model.url, own) if model.url else (namespace(_service_namespace(model, own)), 8080))
        elif isinstance(model, VllmModel) and model.source.partition("://")[0] in ("hf", "s3", "gs"):
            ends.append((ANYWHERE, 443))
    for tool in config.tools:
        if isinstance(tool, HttpTool):
            ends += [_end(prefix, own) for prefix in tool.allow]
        elif isinstance(tool, McpTool):
            ends.append(_end(tool.url, own))
        elif tool.database.startswith("postgresql"):
            ends.append(_end(tool.database, own))
    ends += [_end(issuer.issuer, own) for issuer in config.oidc.issuers]
    rules = [_rule(to, port) for to, port in ends]
    return [rule for i, rule in enumerate(rules) if rule not in rules[:i]]


def _rule(to: Values, port: int) -> Values:
    return {"to": [to], "ports": [{"protocol": "TCP", "port": port}]}


def _service_namespace(model: KServeModel, own: str) -> str:
    return (model.existing or "").rpartition("/")[0] or own


def _end(url: str, own: str) -> tuple[Values, int]:
    """Peer and port of a URL: a namespace for a Service's name, anywhere for every other host."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme.partition("+")[0]]
    labels = (parts.hostname or "").split(".")
    if len(labels) == 1:
        return namespace(own), port
    if labels[2:3] == ["svc"]:
        return namespace(labels[1]), port
    return ANYWHERE, port
