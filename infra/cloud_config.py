"""Settings of a cluster that the stack makes in a cloud: what all have in common, and each cloud's own."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Literal

from pydantic import Field, model_validator

from serving.config import Strict


class Network(Strict):
    """The network of the cluster: one is made, or yours is adopted."""

    cidr: IPv4Network = Field(default=IPv4Network("10.60.0.0/16"), description="of a network that is made")
    existing: str = Field(
        default="", description="yours: its id (AWS), resource id (Azure) or name (GCP); nothing in it is changed"
    )
    subnets: tuple[str, ...] = Field(
        default=(), description="private ones of an existing network, for nodes: ids (AWS), or one name (Azure, GCP)"
    )

    @model_validator(mode="after")
    def _whole(self) -> Network:
        if bool(self.existing) != bool(self.subnets):
            raise ValueError("needs both existing and subnets, or neither")
        if self.existing and "cidr" in self.model_fields_set:
            raise ValueError("has a cidr, which belongs to a network that is made")
        if not 12 <= self.cidr.prefixlen <= 20 or not self.cidr.is_private:
            raise ValueError("needs a private range between /12 and /20")
        return self


class Cluster(Strict):
    """What every cloud's cluster has."""

    kubernetes_version: str = Field(default="1.35", pattern=r"^1\.\d{2}$")
    network: Network = Network()
    endpoint: Literal["public", "private"] = Field(
        default="public", description="private: the API server is reached from inside the network alone, also by `up`"
    )
    authorized_ranges: tuple[IPv4Network, ...] = Field(
        default=(), description="who may reach a public API server, for example 203.0.113.7/32"
    )
    deletion_protection: bool = Field(default=True, description="`purge` is refused until this is false")
    tags: dict[str, str] = Field(default_factory=dict, description="on everything that can have them")
    prices: str = Field(default="", description="file of yours instead of infra/gpu/prices.yaml, below the checkout")

    @model_validator(mode="after")
    def _ranges(self) -> Cluster:
        if self.endpoint == "private" and self.authorized_ranges:
            raise ValueError("has authorized_ranges, which belong to a public endpoint")
        if any(r.prefixlen == 0 for r in self.authorized_ranges):
            raise ValueError("opens the API server to everyone; name the ranges that need it")
        return self


class Aws(Strict):
    """Amazon EKS."""

    account: str = Field(default="", pattern=r"^(\d{12})?$", description="the stack refuses credentials of another one")
    region: str = Field(default="", pattern=r"^([a-z]{2}(-[a-z]+)+-\d)?$")
    mode: Literal["node_groups", "auto"] = Field(
        default="node_groups", description="managed node groups, or EKS Auto Mode with a Karpenter NodePool each"
    )
    image: Literal["al2023", "bottlerocket"] = Field(default="al2023", description="of nodes in managed node groups")


class Gcp(Strict):
    """Google Kubernetes Engine."""

    project: str = Field(default="", pattern=r"^([a-z][-a-z0-9]{4,28}[a-z0-9])?$")
    region: str = Field(default="", pattern=r"^([a-z]+-[a-z]+\d{1,2})?$")
    autopilot: bool = Field(
        default=False, description="Google makes the nodes that pods ask for; node_pools stay empty"
    )
    image_streaming: bool = Field(default=True, description="containers start before their image is pulled whole")


class Azure(Strict):
    """Azure Kubernetes Service."""

    subscription: str = Field(default="", pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")
    location: str = Field(default="", pattern=r"^[a-z0-9]*$")
    resource_group: str = Field(default="", pattern=r"^[-\w.()]{0,89}[-\w()]?$", description="empty: one is made")
