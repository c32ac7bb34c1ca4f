"""Settings for a cluster that the stack creates in a cloud, which all clouds have in common."""

from __future__ import annotations

from datetime import date
from ipaddress import IPv4Network
from typing import Literal

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
    grant_weights: bool = Field(
        default=True,
        description="the pods' identity may read the buckets that `models` name as sources without a token; false: you"
        " grant that yourself",
    )
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


class Maintenance(Strict):
    """When a cloud may upgrade the cluster by itself, in UTC."""

    start: str = Field(default="00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="beginning, in UTC")
