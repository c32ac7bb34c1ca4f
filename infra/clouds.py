"""The settings of each cloud, which are in its folder."""

from __future__ import annotations

from pydantic import Field

from infra.targets.aws.settings import Aws
from infra.targets.azure.settings import Azure
from infra.targets.gcp.settings import Gcp
from serving.config import Strict


class CloudSettings(Strict):
    """The settings of each cloud, by its name in `infra.nodes.machines.Cloud`."""

    aws: Aws = Field(default=Aws(), description="Amazon EKS: account, region, mode, image.")
    gcp: Gcp = Field(
        default=Gcp(), description="Google Kubernetes Engine: project, region, autopilot, image_streaming, maintenance."
    )
    azure: Azure = Field(
        default=Azure(),
        description="Azure Kubernetes Service: subscription, location, resource_group, storage_groups, maintenance.",
    )
