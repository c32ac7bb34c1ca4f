"""Settings of Azure Kubernetes Service."""

from __future__ import annotations

from pydantic import Field

from infra.cloud_config import Dates, Day, Maintenance
from serving.config import Strict


class AzureMaintenance(Maintenance):
    """When AKS may install patches of Kubernetes, and new images of nodes."""

    day: Day = "sunday"
    hours: int = Field(default=8, ge=4, le=24, description="length of the window")
    exclusions: tuple[Dates, ...] = ()


class Azure(Strict):
    """Azure Kubernetes Service."""

    subscription: str = Field(default="", pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")
    location: str = Field(default="", pattern=r"^[a-z0-9]*$")
    resource_group: str = Field(
        default="", pattern=r"^[-\w.()]{0,89}[-\w()]?$", description="empty: a new one is created"
    )
    storage_groups: dict[str, str] = Field(
        default_factory=dict,
        description="resource groups of storage accounts with weights of yours, by account; in this subscription",
    )
    maintenance: AzureMaintenance = AzureMaintenance()
