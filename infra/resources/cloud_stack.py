"""What a stack asks of a cloud, without the rest of its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from infra.cloud_config import Cluster
from infra.ingress_config import Ingress
from infra.nodes.pools import NodePool

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class CloudStack(Generic[Settings]):
    """The cluster and the nodes that a stack needs; `settings` are those of its cloud."""

    name: str
    """Name of the Pulumi stack."""
    settings: Settings
    cluster: Cluster
    pools: tuple[NodePool, ...]
    namespace: str
    """Namespace of the serving pods."""
    ingress: Ingress
    webhooks: frozenset[int] = frozenset()
    """Ports of the add-ons' webhooks, which the control plane calls."""
    weights: tuple[str, ...] = ()
    """URIs of folders in other buckets of this cloud, which the serving pods may read by their identity."""
