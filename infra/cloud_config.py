"""Settings for a cluster that the stack creates in a cloud: common ones, and those of each cloud."""

from __future__ import annotations

from datetime import date
from ipaddress import IPv4Network
from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from serving.config import Strict


class Network(Strict):
    """The cluster's network: a new one, or an existing one."""

    cidr: IPv4Network = Field(default=IPv4Network("10.60.0.0/16"), description="address range of a new network")
    existing: str = Field(
        default="",
        description="an existing network: its id (AWS), resource id (Azure) or name (GCP); it is not changed",
    )
    subnets: tuple[str, ...] = Field(
        default=(),
        description="private subnets of an existing network, for nodes: ids (AWS), or one name (Azure, GCP)",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Network:
        if bool(self.existing) != bool(self.subnets):
            raise ValueError("needs both existing and subnets, or neither")
        if self.existing and "cidr" in self.model_fields_set:
            raise ValueError("has a cidr, which applies to a new network only")
        if not 12 <= self.cidr.prefixlen <= 20 or not self.cidr.is_private:
            raise ValueError("needs a private range between /12 and /20")
        return self


class Cluster(Strict):
    """Settings that clusters in all clouds have in common."""

    kubernetes_version: str = Field(default="1.35", pattern=r"^1\.\d{2}$")
    network: Network = Network()
    endpoint: Literal["public", "private"] = Field(
        default="public",
        description="private: the API server can be reached only from inside the network, by `up` too",
    )
    authorized_ranges: tuple[IPv4Network, ...] = Field(
        default=(), description="who may reach a public API server, for example 203.0.113.7/32"
    )
    admins: tuple[str, ...] = Field(
        default=(),
        description="further administrators: ARNs of roles or users (AWS), object ids in Entra ID (Azure), or members"
        " such as group:ops@example.com (GCP, where they administer all clusters of the project)",
    )
    deletion_protection: bool = Field(default=True, description="`purge` fails until this is false")
    tags: dict[str, str] = Field(default_factory=dict, description="tags for every resource that supports them")
    prices: str = Field(
        default="", description="your own price file below the checkout, replaces the list prices of the cloud"
    )

    @field_validator("admins")
    @classmethod
    def _check_admins(cls, admins: tuple[str, ...]) -> tuple[str, ...]:
        if len({admin.casefold() for admin in admins}) < len(admins):
            raise ValueError("names an administrator twice")
        return admins

    @model_validator(mode="after")
    def _check_ranges(self) -> Cluster:
        if self.endpoint == "private" and self.authorized_ranges:
            raise ValueError("has authorized_ranges, which apply to a public endpoint only")
        if any(r.prefixlen == 0 for r in self.authorized_ranges):
            raise ValueError("opens the API server to everyone; name the ranges that need access")
        return self


AwsAddon = Literal["aws-ebs-csi-driver", "coredns", "eks-pod-identity-agent", "kube-proxy", "vpc-cni"]
"""The add-ons of EKS that the stack installs in managed node groups."""
ADDONS: tuple[AwsAddon, ...] = get_args(AwsAddon)


class Aws(Strict):
    """Amazon EKS."""

    account: str = Field(
        default="", pattern=r"^(\d{12})?$", description="AWS account id; credentials of other accounts are rejected"
    )
    region: str = Field(default="", pattern=r"^([a-z]{2}(-[a-z]+)+-\d)?$")
    mode: Literal["node_groups", "auto"] = Field(
        default="node_groups", description="managed node groups, or EKS Auto Mode with one Karpenter NodePool per pool"
    )
    image: Literal["al2023", "bottlerocket"] = Field(
        default="al2023", description="operating system of nodes in managed node groups"
    )
    zones: tuple[str, ...] = Field(
        default=(),
        description="zones of the control plane in a new network, at least two, for the life of the cluster;"
        " empty: a and b of the region",
    )
    addon_versions: dict[AwsAddon, str] = Field(
        default_factory=dict,
        description="versions of EKS' add-ons, for example {coredns: v1.12.4-eksbuild.1}; `up` names the current ones",
    )

    @property
    def control_plane_zones(self) -> tuple[str, ...]:
        """Zones of the control plane, which EKS needs two of and cannot change later."""
        return self.zones or tuple(f"{self.region}{letter}" for letter in "ab")


class Cost(Strict):
    """What the stack may cost."""

    max_per_month: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="most that the nodes may cost in 730 hours with all pools at max_nodes, in the currency of the"
        " price table; empty: any amount",
    )


Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class Dates(Strict):
    """Days without maintenance, from midnight UTC to midnight."""

    start: date = Field(description="first day, for example 2026-11-23")
    end: date = Field(description="the day after the last one")

    @model_validator(mode="after")
    def _check_order(self) -> Dates:
        if self.start >= self.end:
            raise ValueError("needs start before end")
        return self


class Exclusion(Dates):
    """Days on which GKE upgrades nothing, or no part of it."""

    name: str = Field(pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
    scope: Literal["all", "minor_and_nodes", "minor"] = Field(
        default="all",
        description="all: no upgrades, for at most 30 days; minor_and_nodes: patches of the control plane alone;"
        " minor: no new minor versions of Kubernetes",
    )


class Maintenance(Strict):
    """When a cloud may upgrade the cluster by itself, in UTC."""

    start: str = Field(default="00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="beginning, in UTC")


class GcpMaintenance(Maintenance):
    """When GKE may upgrade the control plane and the nodes."""

    days: tuple[Day, ...] = Field(default=("saturday", "sunday"), min_length=1, max_length=7)
    hours: int = Field(default=12, ge=4, le=24, description="length of the window")
    exclusions: tuple[Exclusion, ...] = Field(default=(), max_length=20)


class AzureMaintenance(Maintenance):
    """When AKS may install patches of Kubernetes, and new images of nodes."""

    day: Day = "sunday"
    hours: int = Field(default=8, ge=4, le=24, description="length of the window")
    exclusions: tuple[Dates, ...] = ()


class Gcp(Strict):
    """Google Kubernetes Engine."""

    project: str = Field(default="", pattern=r"^([a-z][-a-z0-9]{4,28}[a-z0-9])?$")
    region: str = Field(default="", pattern=r"^([a-z]+-[a-z]+\d{1,2})?$")
    autopilot: bool = Field(
        default=False, description="Google creates the nodes that pods request; node_pools must be empty"
    )
    image_streaming: bool = Field(default=True, description="containers start before their image is fully pulled")
    maintenance: GcpMaintenance = GcpMaintenance()


class Azure(Strict):
    """Azure Kubernetes Service."""

    subscription: str = Field(default="", pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")
    location: str = Field(default="", pattern=r"^[a-z0-9]*$")
    resource_group: str = Field(
        default="", pattern=r"^[-\w.()]{0,89}[-\w()]?$", description="empty: a new one is created"
    )
    maintenance: AzureMaintenance = AzureMaintenance()


class CloudSettings(Strict):
    """The settings of each cloud, by its name in `infra.gpu.machines.Cloud`."""

    aws: Aws = Field(default=Aws(), description="Amazon EKS: account, region, mode, image.")
    gcp: Gcp = Field(
        default=Gcp(), description="Google Kubernetes Engine: project, region, autopilot, image_streaming, maintenance."
    )
    azure: Azure = Field(
        default=Azure(), description="Azure Kubernetes Service: subscription, location, resource_group, maintenance."
    )
