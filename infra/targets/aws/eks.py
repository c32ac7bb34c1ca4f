"""Amazon EKS: network, cluster, node pools, bucket, and the serving pods' access to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
from pulumi import Output, ResourceOptions

from infra.cloud_config import Cluster
from infra.ingress_config import Ingress
from infra.nodes.pools import NodePool
from infra.resources.provisioned_cluster import (
    SERVICE_ACCOUNTS,
    IdentityEndpoint,
    ProvisionedCluster,
    admin_resource,
    kubeconfig,
    resource_slug,
)
from infra.targets.aws import auto_mode, nodes
from infra.targets.aws.bucket import AwsBucket, bucket_name, read_policy
from infra.targets.aws.entrance import entrance
from infra.targets.aws.network import AwsNetwork
from infra.targets.aws.roles import CONTROL_PLANE, NODES, PODS, namespace_conditions, policy, role
from infra.targets.aws.settings import Aws, AwsAddon

STORAGE_CLASS = "headrace-gp3"
POD_IDENTITY = IdentityEndpoint("169.254.170.23/32", 80)
"""Agent of EKS Pod Identity on every node: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html"""

ADMIN_ACCESS = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
"""https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html"""

LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
RETENTION_DAYS = 90
KEY_DELETION_DAYS = 7

CLUSTER_POLICIES = ("AmazonEKSClusterPolicy",)
AUTO_CLUSTER_POLICIES = (
    *CLUSTER_POLICIES,
    "AmazonEKSComputePolicy",
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingPolicy",
)
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
AUTO_NODE_POLICIES = ("AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly")

LEFTOVERS = (
    "the log group of the control plane, if EKS creates it again while it ends, as it does now and then"
    " (https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2763); delete it before the next `up`, which"
    " creates it: `aws logs delete-log-group --log-group-name {logs}`",
    f"the KMS key of the cluster's secrets, which AWS deletes after {KEY_DELETION_DAYS} days",
    "EBS volumes with the reclaim policy Retain, and snapshots that you created",
    "network interfaces that the VPC CNI could not release, which block the deletion of the VPC:"
    " `aws ec2 describe-network-interfaces --filters Name=status,Values=available` lists them",
)


class EksCluster(pulumi.ComponentResource):
    """All AWS resources of one stack."""

    def __init__(
        self,
        settings: Aws,
        cluster: Cluster,
        pools: Sequence[NodePool],
        stack: str,
        namespace: str,
        ingress: Ingress,
        weights: Sequence[str],
    ) -> None:
        super().__init__("headrace:aws:Cluster", "aws")
        self._settings, self._cluster, self._pools = settings, cluster, pools
        self._auto = settings.mode == "auto"
        self._title = f"headrace-{resource_slug(stack, 40)}"
        self._tags = {"headrace-stack": stack, **cluster.tags}
        provider = aws.Provider(
            "aws",
            region=settings.region,
            # Reject credentials of other accounts before any resource is created.
            allowed_account_ids=[settings.account],
            default_tags=aws.ProviderDefaultTagsArgs(tags=self._tags),
            opts=ResourceOptions(parent=self),
        )
        self._own = ResourceOptions(parent=self, provider=provider)
        requested_zones = sorted({zone for pool in pools for zone in pool.zones})
        self._network = AwsNetwork(settings, cluster.network, requested_zones, self._title, self._own)
        self.bucket = AwsBucket(bucket_name(settings.account, stack), cluster.deletion_protection, self._own)
        policies = AUTO_NODE_POLICIES if self._auto else NODE_POLICIES
        self._node_role, node_rights = role("nodes", NODES, policies, self._own)
        self.cluster = self._control_plane()
        self._admins()
        self.kubeconfig = self._kubeconfig()
        self.kubernetes = k8s.Provider(
            "kubernetes",
            kubeconfig=self.kubeconfig,
            cluster_identifier=self.identifier,
            opts=ResourceOptions(parent=self),
        )
        self.ready = self._nodes(node_rights)
        self.entrance = entrance(ingress, self._network.public, self._title, self._own)
        self.ready += [self._storage_class(), *self._identity(namespace, weights), *self.entrance.ready]
        self.register_outputs({"kubeconfig": self.kubeconfig, "bucket": self.bucket.name})

    @property
    def log_group(self) -> str:
        """Name of the control plane's log group, which EKS determines."""
        return f"/aws/eks/{self._title}/cluster"

    @property
    def identifier(self) -> Output[str]:
        """Digest of the certificate authority, which changes if the cluster is recreated under the same name."""
        authority: Output[str | None] = self.cluster.certificate_authority.data
        return authority.apply(lambda data: hashlib.sha256((data or "").encode()).hexdigest()[:16])

    def _control_plane(self) -> aws.eks.Cluster:
        key = aws.kms.Key(
            "secrets",
            description=f"Secrets of the Kubernetes cluster {self._title}",
            enable_key_rotation=True,
            deletion_window_in_days=KEY_DELETION_DAYS,
            opts=self._own,
        )
        # Otherwise EKS would create the group itself, with unlimited retention, and never delete it.
        logs = aws.cloudwatch.LogGroup("logs", name=self.log_group, retention_in_days=RETENTION_DAYS, opts=self._own)
        policies = AUTO_CLUSTER_POLICIES if self._auto else CLUSTER_POLICIES
        own_role, rights = role("cluster", CONTROL_PLANE, policies, self._own)
        use = aws.iam.RolePolicy("cluster-key", role=own_role.name, policy=key.arn.apply(_key_policy), opts=self._own)
        public = self._cluster.endpoint == "public"
        ranges = [str(r) for r in self._cluster.authorized_ranges]
        control_plane = aws.eks.Cluster(
            "cluster",
            name=self._title,
            version=self._cluster.kubernetes_version,
            role_arn=own_role.arn,
            vpc_config=aws.eks.ClusterVpcConfigArgs(
                subnet_ids=self._network.control_plane,
                endpoint_private_access=True,
                endpoint_public_access=public,
                public_access_cidrs=ranges if public else None,
            ),
            access_config=aws.eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=True
            ),
            encryption_config=aws.eks.ClusterEncryptionConfigArgs(
                provider=aws.eks.ClusterEncryptionConfigProviderArgs(key_arn=key.arn), resources=["secrets"]
            ),
            enabled_cluster_log_types=list(LOGS),
            # Otherwise AWS would upgrade the cluster automatically at the end of standard support.
            upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="EXTENDED"),
            deletion_protection=self._cluster.deletion_protection,
            bootstrap_self_managed_addons=False,
            **(auto_mode.auto_mode_arguments() if self._auto else {}),
            opts=self._options(*rights, use, logs, *self._network.ready, protect=self._cluster.deletion_protection),
        )
        if not public:
            aws.vpc.SecurityGroupIngressRule(
                "api-server",
                description="The API server, from inside the network",
                security_group_id=control_plane.vpc_config.cluster_security_group_id.apply(str),
                cidr_ipv4=self._network.cidr,
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                opts=self._options(deleted_with=control_plane),
            )
        return control_plane

    def _admins(self) -> None:
        """Makes the administrators of the configuration ones, besides the user of the first `up`."""
        for admin in self._cluster.admins:
            name = admin_resource(admin)
            opts = self._options(deleted_with=self.cluster)
            entry = aws.eks.AccessEntry(name, cluster_name=self.cluster.name, principal_arn=admin, opts=opts)
            aws.eks.AccessPolicyAssociation(
                name,
                cluster_name=self.cluster.name,
                principal_arn=admin,
                policy_arn=ADMIN_ACCESS,
                access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
                opts=self._options(entry, deleted_with=self.cluster),
            )

    def _nodes(self, rights: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        if self._auto:
            return self._auto_pools(rights)
        # Nodes need these to become ready. The VPC CNI enforces the chart's network policies.
        before = [
            self._addon("eks-pod-identity-agent"),
            self._addon("kube-proxy"),
            self._addon("vpc-cni", "aws-node", "AmazonEKS_CNI_Policy", values={"enableNetworkPolicy": "true"}),
        ]
        groups = [self._node_group(pool, [*rights, *before]) for pool in self._pools]
        volumes = "service-role/AmazonEBSCSIDriverPolicy"
        after = [
            self._addon("coredns", after=groups),
            self._addon("aws-ebs-csi-driver", "ebs-csi-controller-sa", volumes, after=groups),
        ]
        return [*groups, *after]

    def _node_group(self, pool: NodePool, before: Sequence[pulumi.Resource]) -> aws.eks.NodeGroup:
        name = f"pool-{pool.name}"
        tags = {"Name": f"{self._title}-{pool.name}", **self._tags}
        template = aws.ec2.LaunchTemplate(name, nodes.launch_template(self._settings, pool, tags), opts=self._own)
        group = nodes.node_group(
            self._settings,
            pool,
            cluster=self.cluster.name,
            version=self._cluster.kubernetes_version,
            role=self._node_role.arn,
            subnets=self._network.subnets_in(pool.zones),
            template=template.id,
            template_version=template.latest_version.apply(str),
        )
        scaled = ["scalingConfig.desiredSize"] if pool.autoscaled else []
        opts = self._options(
            *before,
            *self._network.ready,
            ignore_changes=scaled,
            # A full reservation, and often the zone, has no GPUs for a second group beside the first.
            delete_before_replace=bool(pool.gpus),
        )
        return aws.eks.NodeGroup(name, group, opts=opts)

    def _auto_pools(self, rights: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        with_it = self._options(deleted_with=self.cluster)
        before = [
            *auto_mode.node_access(self.cluster, self._node_role, with_it),
            auto_mode.network_policies(self._cluster_options(deleted_with=self.cluster)),
            *rights,
            *self._network.ready,
        ]
        group = self.cluster.vpc_config.cluster_security_group_id.apply(str)
        own = self._cluster_options(*before)
        return [auto_mode.node_pool(p, self._node_role.name, self._network.nodes, group, own) for p in self._pools]

    def _addon(
        self,
        name: AwsAddon,
        account: str = "",
        policy_name: str = "",
        values: Mapping[str, Any] | None = None,
        after: Sequence[pulumi.Resource] = (),
    ) -> aws.eks.Addon:
        """Installs an EKS add-on; pods of the service account `account` get `policy_name`.

        Without a version in the configuration it gets EKS' default, which EKS does not update afterwards:
        https://docs.aws.amazon.com/eks/latest/userguide/updating-an-add-on.html.
        """
        rights: Sequence[pulumi.Resource] = ()
        identities = None
        if account:
            pod_role, rights = role(name, PODS, [policy_name], self._own, self._namespace_conditions("kube-system"))
            identities = [aws.eks.AddonPodIdentityAssociationArgs(role_arn=pod_role.arn, service_account=account)]
        return aws.eks.Addon(
            f"addon-{name}",
            addon_name=name,
            addon_version=self._settings.addon_versions.get(name),
            cluster_name=self.cluster.name,
            configuration_values=json.dumps(values) if values else None,
            pod_identity_associations=identities,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            opts=self._options(*after, *rights, deleted_with=self.cluster),
        )

    def _storage_class(self) -> pulumi.Resource:
        return k8s.storage.v1.StorageClass(
            "storage-class",
            metadata={"name": STORAGE_CLASS},
            provisioner="ebs.csi.eks.amazonaws.com" if self._auto else "ebs.csi.aws.com",
            parameters={"type": "gp3", "encrypted": "true"},
            volume_binding_mode="WaitForFirstConsumer",
            allow_volume_expansion=True,
            reclaim_policy="Delete",
            opts=self._cluster_options(deleted_with=self.cluster),
        )

    def _identity(self, namespace: str, weights: Sequence[str]) -> list[pulumi.Resource]:
        """Gives the serving pods a role for the bucket and for weights in others, without any access key."""
        serving, _ = role("serving", PODS, [], self._own, self._namespace_conditions(namespace))
        rights = [aws.iam.RolePolicy("serving", role=serving.name, policy=self.bucket.access(), opts=self._own)]
        if weights:
            readable = json.dumps(read_policy(weights))
            rights.append(aws.iam.RolePolicy("weights", role=serving.name, policy=readable, opts=self._own))
        return [
            aws.eks.PodIdentityAssociation(
                f"identity-{account}",
                cluster_name=self.cluster.name,
                namespace=namespace,
                service_account=account,
                role_arn=serving.arn,
                opts=self._options(*rights, deleted_with=self.cluster),
            )
            for account in SERVICE_ACCOUNTS
        ]

    def _kubeconfig(self) -> Output[str]:
        region = self._settings.region
        sign_in = {
            "command": "aws",
            "args": ["eks", "get-token", "--cluster-name", self._title, "--region", region, "--output", "json"],
        }

        def content(found: Sequence[str]) -> str:
            cluster = {"server": found[0], "certificate-authority-data": found[1]}
            return kubeconfig(self._title, cluster, sign_in)

        authority = self.cluster.certificate_authority.data
        return Output.secret(Output.all(self.cluster.endpoint, authority).apply(content))

    def _namespace_conditions(self, namespace: str) -> dict[str, str]:
        return namespace_conditions(self._settings.account, self._title, namespace)

    def _options(self, *resources: pulumi.Resource, **more: Any) -> ResourceOptions:
        return ResourceOptions.merge(self._own, ResourceOptions(depends_on=list(resources), **more))

    def _cluster_options(self, *resources: pulumi.Resource, **more: Any) -> ResourceOptions:
        return ResourceOptions(parent=self, provider=self.kubernetes, depends_on=[self.cluster, *resources], **more)


def _key_policy(arn: str) -> str:
    actions = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:ListGrants"]
    return json.dumps(policy({"Effect": "Allow", "Action": actions, "Resource": arn}))


def provision_eks(
    settings: Aws,
    cluster: Cluster,
    pools: Sequence[NodePool],
    stack: str,
    namespace: str,
    ingress: Ingress = Ingress(),  # noqa: B008 (it is frozen)
    weights: Sequence[str] = (),
) -> ProvisionedCluster:
    """Plans all AWS resources of the stack. `limits` must have checked the settings before."""
    planned = EksCluster(settings, cluster, pools, stack, namespace, ingress, weights)
    return ProvisionedCluster(
        kubeconfig=planned.kubeconfig,
        identifier=planned.identifier,
        owner=planned.cluster,
        ready=planned.ready,
        storage_class=STORAGE_CLASS,
        data_uri=f"s3://{planned.bucket.name}",
        identity=[POD_IDENTITY],
        entrance=planned.entrance,
        dns=auto_mode.DNS if settings.mode == "auto" else (),
        leftovers=[leftover.format(logs=planned.log_group) for leftover in LEFTOVERS],
    )
