"""Settings of Google Kubernetes Engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.cloud_config import Dates, Day, Maintenance
from serving.config import Strict


class Exclusion(Dates):
    """Days on which GKE upgrades nothing, or no part of it."""

    name: str = Field(pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
    scope: Literal["all", "minor_and_nodes", "minor"] = Field(
        default="all",
        description="all: no upgrades, for at most 30 days; minor_and_nodes: patches of the control plane alone;"
        " minor: no new minor versions of Kubernetes",
    )


class GcpMaintenance(Maintenance):
    """When GKE may upgrade the control plane and the nodes."""

    days: tuple[Day, ...] = Field(default=("saturday", "sunday"), min_length=1, max_length=7)
    hours: int = Field(default=12, ge=4, le=24, description="length of the window")
    exclusions: tuple[Exclusion, ...] = Field(default=(), max_length=20)


class Gcp(Strict):
    """Google Kubernetes Engine."""

    project: str = Field(default="", pattern=r"^([a-z][-a-z0-9]{4,28}[a-z0-9])?$")
    region: str = Field(default="", pattern=r"^([a-z]+-[a-z]+\d{1,2})?$")
    autopilot: bool = Field(
        default=False, description="Google creates the nodes that pods request; node_pools must be empty"
    )
    image_streaming: bool = Field(default=True, description="containers start before their image is fully pulled")
    maintenance: GcpMaintenance = GcpMaintenance()
