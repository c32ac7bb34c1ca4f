"""Azure Kubernetes Service: network, cluster, node pools, bucket, and the serving pods' access to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_azure_native as azure_native
from pulumi import Input, InvokeOutputOptions, Output, ResourceOptions
from pulumi_azure_native import (
    authorization,
    containerservice,
    managedidentity,
    monitor,
    operationalinsights,
    resources,
)

from infra.cloud_config import Cluster
from infra.ingress_config import Ingress
from infra.nodes.pools import NodePool
from infra.resources.provisioned_cluster import (
    SERVICE_ACCOUNTS,
    IdentityEndpoint,
    ProvisionedCluster,
    admin_resource,
    resource_slug,
)
from infra.targets.azure import access
from infra.targets.azure.bucket import AzureBucket, bucket_name, readable
from infra.targets.azure.cluster import entra_kubeconfig, managed_cluster
from infra.targets.azure.entrance import entrance
from infra.targets.azure.network import AzureNetwork
from infra.targets.azure.nodes import IMMUTABLE, agent_pool, constructor_arguments
from infra.targets.azure.settings import Azure

ROLES = {
    "network": "4d97b98b-1d4f-4787-a291-c67834d212e7",  # Network Contributor
    "contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "blobs": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",  # Storage Blob Data Contributor
    "reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",  # Storage Blob Data Reader
    "admin": "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",  # Azure Kubernetes Service RBAC Cluster Admin
}
"""Built-in roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles."""

AUDITED = ("kube-audit-admin", "guard")
"""Categories of retained logs: changes and sign-ins."""

AUDIT_DAYS = 30

MAINTENANCE = {"upgrade-window": "aksManagedAutoUpgradeSchedule", "image-window": "aksManagedNodeOSUpgradeSchedule"}
"""AKS' names of the maintenance windows for Kubernetes patches and for node images."""

TOKENS = IdentityEndpoint("0.0.0.0/0", 443)
"""login.microsoftonline.com, where pods exchange tokens, and the bucket, neither of which has fixed addresses."""

LEFTOVERS = (
    "the Log Analytics workspace of audit logs, which can be recovered for 14 days at no cost",
    "the resource group NetworkWatcherRG, if Azure created it for the first network of the subscription",
)


def resource_name(stack: str) -> str:
    """Returns the name of the stack's resources in Azure."""
    return f"headrace-{resource_slug(stack, 40)}"


class AksCluster(pulumi.ComponentResource):
    """All Azure resources of one stack."""

    def __init__(
        self,
        settings: Azure,
        cluster: Cluster,
        pools: Sequence[NodePool],
        stack: str,
        namespace: str,
        ingress: Ingress,
        weights: Sequence[str],
    ) -> None:
        super().__init__("headrace:azure:Cluster", "azure")
        self._settings = settings
        self._cluster_settings = cluster
        self._name = resource_name(stack)
        self._tags = {"headrace-stack": stack, **cluster.tags}
        self.provider = azure_native.Provider(
            "azure",
            subscription_id=settings.subscription,
            location=settings.location,
            opts=ResourceOptions(parent=self),
        )
        self._own = ResourceOptions(parent=self, provider=self.provider)
        self._protected = ResourceOptions.merge(self._own, ResourceOptions(protect=cluster.deletion_protection))
        self._group = self._resource_group()
        self._network = AzureNetwork(cluster.network, self._name, self._group, self._tags, self._own)
        self.entrance = entrance(ingress, self._name, self._group, self._tags, self._own)
        self.cluster = self._cluster(pools)
        self.pools = [self._pool(pool) for pool in pools]
        self.admin = self._assign_admin()
        for admin in cluster.admins:
            authorization.RoleAssignment(
                admin_resource(admin),
                principal_id=admin,
                role_definition_id=self._role_definition_id("admin"),
                scope=self.cluster.id,
                opts=self._own,
            )
        self._maintenance()
        self._audit_logs()
        self.bucket = AzureBucket(
            bucket_name(settings.subscription, stack),
            self._group,
            self._network.subnet,
            self._tags,
            cluster.deletion_protection,
            self._own,
        )
        self.identity, self.bindings = self._identity(namespace, weights)
        self.kubeconfig = self._kubeconfig()
        self.register_outputs({})

    def _resource_group(self) -> Input[str]:
        if self._settings.resource_group:
            return self._settings.resource_group
        group = resources.ResourceGroup(
            "resource-group", resource_group_name=self._name, tags=self._tags, opts=self._protected
        )
        name: Output[str] = group.name
        return name

    def _cluster(self, pools: Sequence[NodePool]) -> containerservice.ManagedCluster:
        identity = managedidentity.UserAssignedIdentity(
            "cluster-identity",
            resource_group_name=self._group,
            resource_name_=f"{self._name}-cluster",
            tags=self._tags,
            opts=self._own,
        )
        roles = [self._assign_role("cluster-network", "network", identity.principal_id, self._network.subnet)]
        if self.entrance.ready:
            scope = Output.concat("/subscriptions/", self._settings.subscription, "/resourceGroups/", self._group)
            roles.append(self._assign_role("cluster-entrance", "network", identity.principal_id, scope))
        for i, reservation in enumerate(sorted({pool.reservation for pool in pools if pool.reservation})):
            roles.append(
                self._assign_role(f"cluster-reservation-{i}", "contributor", identity.principal_id, reservation)
            )
        args = managed_cluster(
            self._cluster_settings,
            self._name,
            self._group,
            identity.id,
            self._network.subnet,
            self._network.outbound,
            self._tags,
        )
        return containerservice.ManagedCluster(
            "cluster",
            **constructor_arguments(args),
            # Azure lists the other pools in agentPoolProfiles too, and a refresh takes them over. They must not be sent
            # back: Azure keeps pools that are not listed (https://github.com/Azure/AKS/issues/1511), but rejects all
            # changes that list one which is gone (https://github.com/pulumi/pulumi-azure-native/issues/2719).
            opts=ResourceOptions.merge(self._protected, ResourceOptions(depends_on=roles)),
        )

    def _pool(self, pool: NodePool) -> containerservice.AgentPool:
        args = agent_pool(
            pool, self._cluster_settings, self._group, self.cluster.name, self._network.subnet, self._tags
        )
        return containerservice.AgentPool(
            f"pool-{pool.name}",
            **constructor_arguments(args),
            opts=ResourceOptions.merge(
                self._own,
                ResourceOptions(
                    deleted_with=self.cluster,
                    ignore_changes=["count"] if pool.autoscaled else [],
                    replace_on_changes=list(IMMUTABLE),
                    delete_before_replace=True,  # pool names are unique in a cluster
                ),
            ),
        )

    def _assign_admin(self) -> authorization.RoleAssignment:
        """Makes the user of the first `up` an administrator. Without local accounts, the cluster has no other."""
        who = authorization.get_client_config_output(
            opts=InvokeOutputOptions(parent=self, provider=self.provider, depends_on=[self.cluster])
        )
        return authorization.RoleAssignment(
            "admin",
            principal_id=who.object_id,
            role_definition_id=self._role_definition_id("admin"),
            scope=self.cluster.id,
            # A later `up` by another user must not move the role.
            opts=ResourceOptions.merge(self._own, ResourceOptions(ignore_changes=["principalId"])),
        )

    def _maintenance(self) -> None:
        wanted = self._settings.maintenance
        weekly = containerservice.WeeklyScheduleArgs(day_of_week=wanted.day.capitalize(), interval_weeks=1)
        for name, what in MAINTENANCE.items():
            containerservice.MaintenanceConfiguration(
                name,
                resource_group_name=self._group,
                resource_name_=self.cluster.name,
                config_name=what,
                maintenance_window=containerservice.MaintenanceWindowArgs(
                    schedule=containerservice.ScheduleArgs(weekly=weekly),
                    start_time=wanted.start,
                    utc_offset="+00:00",
                    duration_hours=wanted.hours,
                    not_allowed_dates=[
                        containerservice.DateSpanArgs(start=str(each.start), end=str(each.end))
                        for each in wanted.exclusions
                    ]
                    or None,
                ),
                opts=ResourceOptions.merge(self._own, ResourceOptions(deleted_with=self.cluster)),
            )

    def _audit_logs(self) -> None:
        workspace = operationalinsights.Workspace(
            "audit-workspace",
            resource_group_name=self._group,
            workspace_name=self._name,
            sku=operationalinsights.WorkspaceSkuArgs(name="PerGB2018"),
            retention_in_days=AUDIT_DAYS,
            tags=self._tags,
            opts=self._own,
        )
        # Delete it explicitly: Azure keeps the setting of a deleted cluster for a new one of the same name.
        monitor.DiagnosticSetting(
            "audit-logs",
            name="audit",
            resource_uri=self.cluster.id,
            workspace_id=workspace.id,
            log_analytics_destination_type="Dedicated",
            logs=[monitor.DiagnosticsLogSettingsArgs(category=c, enabled=True) for c in AUDITED],
            opts=self._own,
        )

    def _identity(
        self, namespace: str, weights: Sequence[str]
    ) -> tuple[managedidentity.UserAssignedIdentity, list[pulumi.Resource]]:
        identity = managedidentity.UserAssignedIdentity(
            "serving-identity",
            resource_group_name=self._group,
            resource_name_=f"{self._name}-serving",
            tags=self._tags,
            opts=self._own,
        )
        role = self._assign_role("serving-bucket", "blobs", identity.principal_id, self.bucket.container.id)
        if self._cluster_settings.deletion_protection:
            # Prevents manual deletion. It is deleted before the role, which it would protect too.
            authorization.ManagementLockByScope(
                "bucket-lock",
                scope=self.bucket.account.id,
                level="CanNotDelete",
                notes="headrace:cluster.deletion_protection",
                opts=ResourceOptions.merge(self._own, ResourceOptions(depends_on=[role])),
            )
        bindings: list[pulumi.Resource] = [role]
        for account in SERVICE_ACCOUNTS:
            credential = managedidentity.FederatedIdentityCredential(
                f"serving-identity-{account}",
                resource_group_name=self._group,
                resource_name_=identity.name,
                federated_identity_credential_resource_name=account,
                issuer=self.cluster.oidc_issuer_profile.apply(lambda profile: profile.issuer_url),
                subject=f"system:serviceaccount:{namespace}:{account}",
                audiences=["api://AzureADTokenExchange"],
                # Azure rejects concurrent changes of an identity's credentials.
                opts=ResourceOptions.merge(self._own, ResourceOptions(depends_on=bindings[1:])),
            )
            bindings.append(credential)
        for name, container in readable(weights, self._settings).items():
            bindings.append(self._assign_role(f"weights-{name}", "reader", identity.principal_id, container))
        return identity, bindings

    def _kubeconfig(self) -> Output[str]:
        credentials = containerservice.list_managed_cluster_user_credentials_output(
            resource_group_name=self._group,
            resource_name=self.cluster.name,
            opts=InvokeOutputOptions(parent=self, provider=self.provider),
        )
        name = self._name

        async def content(found: Sequence[Any]) -> str:
            text = entra_kubeconfig(name, found[0].kubeconfigs[0].value)
            if not pulumi.runtime.is_dry_run():
                await asyncio.to_thread(access.wait_until_allowed, text)
            return text

        return Output.secret(Output.all(credentials, self.admin.id).apply(content))

    def _assign_role(
        self, name: str, role: str, principal: Input[str], scope: Input[str]
    ) -> authorization.RoleAssignment:
        return authorization.RoleAssignment(
            name,
            principal_id=principal,
            principal_type="ServicePrincipal",  # avoids a lookup of the identity, which may not be replicated yet
            role_definition_id=self._role_definition_id(role),
            scope=scope,
            opts=self._own,
        )

    def _role_definition_id(self, role: str) -> str:
        subscription = f"/subscriptions/{self._settings.subscription}"
        return f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[role]}"


def provision_aks(
    settings: Azure,
    cluster: Cluster,
    pools: Sequence[NodePool],
    stack: str,
    namespace: str,
    ingress: Ingress = Ingress(),  # noqa: B008 (it is frozen)
    weights: Sequence[str] = (),
) -> ProvisionedCluster:
    """Plans all Azure resources of the stack."""
    planned = AksCluster(settings, cluster, pools, stack, namespace, ingress, weights)
    return ProvisionedCluster(
        kubeconfig=planned.kubeconfig,
        identifier=planned.cluster.resource_uid,
        owner=planned.cluster,
        ready=[*planned.pools, planned.admin, planned.bucket.container, *planned.bindings, *planned.entrance.ready],
        storage_class="managed-csi",
        data_uri=planned.bucket.uri,
        service_account_annotations={"azure.workload.identity/client-id": planned.identity.client_id},
        pod_labels={"azure.workload.identity/use": "true"},
        identity=(TOKENS,),
        entrance=planned.entrance,
        leftovers=LEFTOVERS,
    )
