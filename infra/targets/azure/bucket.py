"""The bucket for files and collections, a container in a separate storage account, and weights in other accounts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import pulumi
from pulumi import Input, ResourceOptions
from pulumi_azure_native import storage

from infra.targets.azure.limits import STORE
from infra.targets.azure.settings import Azure

CONTAINER = "data"


def bucket_name(subscription: str, stack: str) -> str:
    """Returns the storage account's name: globally unique, with at most 24 lowercase letters and digits."""
    short = re.sub("[^a-z0-9]", "", stack.lower())[:8]
    return f"headrace{short}{hashlib.sha256(f'{subscription}/{stack}'.encode()).hexdigest()[:8]}"


class AzureBucket(pulumi.ComponentResource):
    """An encrypted container without public access, account keys, other networks and versioning."""

    def __init__(
        self,
        name: str,
        group: Input[str],
        subnet: Input[str],
        tags: Mapping[str, str],
        protect: bool,
        opts: ResourceOptions,
    ) -> None:
        super().__init__("headrace:azure:Bucket", "bucket", opts=opts)
        self.uri = f"az://{name}/{CONTAINER}"
        self.account = storage.StorageAccount(
            "bucket",
            resource_group_name=group,
            account_name=name,
            kind="StorageV2",
            sku=storage.SkuArgs(name="Standard_LRS"),
            access_tier=storage.AccessTier.HOT,
            allow_blob_public_access=False,
            allow_shared_key_access=False,
            allow_cross_tenant_replication=False,
            default_to_o_auth_authentication=True,
            enable_https_traffic_only=True,
            minimum_tls_version="TLS1_2",
            encryption=storage.EncryptionArgs(
                key_source="Microsoft.Storage",
                services=storage.EncryptionServicesArgs(blob=storage.EncryptionServiceArgs(enabled=True)),
            ),
            network_rule_set=storage.NetworkRuleSetArgs(
                default_action=storage.DefaultAction.DENY,
                bypass="None",
                virtual_network_rules=[storage.VirtualNetworkRuleArgs(virtual_network_resource_id=subnet)],
            ),
            tags=tags,
            opts=ResourceOptions(parent=self, protect=protect),
        )
        # These are deleted with the storage account.
        with_it = ResourceOptions(parent=self, deleted_with=self.account)
        # Incomplete uploads need no lifecycle rule: Azure removes them after a week.
        storage.BlobServiceProperties(
            "bucket-service",
            resource_group_name=group,
            account_name=self.account.name,
            blob_services_name="default",
            is_versioning_enabled=False,
            delete_retention_policy=storage.DeleteRetentionPolicyArgs(enabled=False),
            container_delete_retention_policy=storage.DeleteRetentionPolicyArgs(enabled=False),
            opts=with_it,
        )
        self.container = storage.BlobContainer(
            "bucket-container",
            resource_group_name=group,
            account_name=self.account.name,
            container_name=CONTAINER,
            public_access=storage.PublicAccess.NONE,
            opts=ResourceOptions.merge(with_it, ResourceOptions(protect=protect)),
        )
        self.register_outputs({})


def readable(sources: Sequence[str], settings: Azure) -> dict[str, str]:
    """Returns the resource ids of the containers of folders, each `az://account/container/folder`, by a short name."""
    found = {}
    for source in sources:
        account, container, *_ = source.removeprefix(STORE).split("/")
        group = f"/subscriptions/{settings.subscription}/resourceGroups/{settings.storage_groups[account]}"
        in_account = f"Microsoft.Storage/storageAccounts/{account}/blobServices/default/containers/{container}"
        found[f"{account}-{container}"] = f"{group}/providers/{in_account}"
    return found
