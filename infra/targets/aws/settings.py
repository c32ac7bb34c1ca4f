"""Settings of Amazon EKS."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from serving.config import Strict

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
