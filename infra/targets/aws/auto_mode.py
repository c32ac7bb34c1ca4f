"""EKS Auto Mode: the cluster's settings, and the NodeClass and NodePool of each pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from infra.nodes.pools import NodePool
from infra.targets.aws import nodes

DNS = tuple({"ipBlock": {"cidr": cidr}} for cidr in ("10.100.0.10/32", "172.20.0.10/32"))
"""Address of the DNS, which has no pods in Auto Mode: every node answers for itself.

A policy must name the address: https://github.com/aws/containers-roadmap/issues/2552. EKS chooses one of two ranges for
Services: https://docs.aws.amazon.com/eks/latest/APIReference/API_KubernetesNetworkConfigRequest.html.
"""

NODE_ACCESS = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSAutoNodePolicy"


def auto_mode_arguments() -> dict[str, Any]:
    """Returns the cluster arguments that enable Auto Mode, of which EKS requires all or none.

    EKS' built-in node pools are off: they would create machines that are not in the configuration.
    """
    return {
        "compute_config": aws.eks.ClusterComputeConfigArgs(enabled=True, node_pools=[]),
        "storage_config": aws.eks.ClusterStorageConfigArgs(
            block_storage=aws.eks.ClusterStorageConfigBlockStorageArgs(enabled=True)
        ),
        "kubernetes_network_config": aws.eks.ClusterKubernetesNetworkConfigArgs(
            elastic_load_balancing=aws.eks.ClusterKubernetesNetworkConfigElasticLoadBalancingArgs(enabled=True)
        ),
    }


def node_access(cluster: aws.eks.Cluster, role: aws.iam.Role, opts: ResourceOptions) -> list[pulumi.Resource]:
    """Lets nodes with a role join the cluster, which EKS does itself only for its built-in node pools."""
    entry = aws.eks.AccessEntry("nodes", cluster_name=cluster.name, principal_arn=role.arn, type="EC2", opts=opts)
    access = aws.eks.AccessPolicyAssociation(
        "nodes",
        cluster_name=cluster.name,
        principal_arn=role.arn,
        policy_arn=NODE_ACCESS,
        access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
        opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[entry])),
    )
    return [entry, access]


def network_policies(opts: ResourceOptions) -> pulumi.Resource:
    """Enables the network policy controller, without which policies have no effect.

    https://docs.aws.amazon.com/eks/latest/userguide/auto-net-pol.html
    """
    return k8s.core.v1.ConfigMap(
        "network-policies",
        metadata={"name": "amazon-vpc-cni", "namespace": "kube-system"},
        data={"enable-network-policy-controller": "true"},
        opts=opts,
    )


def node_pool(
    pool: NodePool,
    role: Output[str],
    subnets: Sequence[Input[str]],
    security_group: Output[str],
    opts: ResourceOptions,
) -> pulumi.Resource:
    """Creates NodeClass and NodePool. They are deleted before the cluster, so that no node remains in the network."""
    name = f"pool-{pool.name}"
    shape = k8s.apiextensions.CustomResource(
        f"{name}-class",
        api_version="eks.amazonaws.com/v1",
        kind="NodeClass",
        metadata={"name": pool.name},
        spec=nodes.node_class(pool, role=role, subnets=subnets, security_group=security_group),
        opts=opts,
    )
    return k8s.apiextensions.CustomResource(
        name,
        api_version="karpenter.sh/v1",
        kind="NodePool",
        metadata={"name": pool.name},
        spec=nodes.node_pool(pool),
        opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[shape])),
    )
