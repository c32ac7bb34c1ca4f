"""The network of an AKS cluster: a new one with a NAT gateway, or an existing one."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi import Input, Output, ResourceOptions
from pulumi_azure_native import network

from infra import cloud_config
from infra.targets.azure import limits


class AzureNetwork(pulumi.ComponentResource):
    """The subnet of the nodes, which have no public addresses."""

    subnet: Input[str]
    """Resource id of the subnet."""
    outbound: list[Output[str]]
    """Source addresses of the nodes' connections to the internet; empty (unknown) for an existing network."""

    def __init__(
        self,
        settings: cloud_config.Network,
        name: str,
        group: Input[str],
        tags: Mapping[str, str],
        opts: ResourceOptions,
    ) -> None:
        super().__init__("headrace:azure:Network", "network", opts=opts)
        if settings.existing:
            self.subnet, self.outbound = f"{settings.existing}/subnets/{settings.subnets[0]}", []
            self.register_outputs({})
            return
        own = ResourceOptions(parent=self)
        virtual_network = network.VirtualNetwork(
            "network",
            resource_group_name=group,
            virtual_network_name=name,
            address_space=network.AddressSpaceArgs(address_prefixes=[str(settings.cidr)]),
            tags=tags,
            # Azure also lists the subnets here, which are separate resources.
            opts=ResourceOptions.merge(own, ResourceOptions(ignore_changes=["subnets"])),
        )
        address = network.PublicIPAddress(
            "nat-address",
            resource_group_name=group,
            public_ip_address_name=f"{name}-nat",
            public_ip_allocation_method="Static",
            sku=network.PublicIPAddressSkuArgs(name="Standard"),
            tags=tags,
            opts=own,
        )
        nat = network.NatGateway(
            "nat",
            resource_group_name=group,
            nat_gateway_name=name,
            sku=network.NatGatewaySkuArgs(name="Standard"),
            public_ip_addresses=[network.SubResourceArgs(id=address.id)],
            tags=tags,
            opts=own,
        )
        subnet = network.Subnet(
            "subnet",
            resource_group_name=group,
            virtual_network_name=virtual_network.name,
            subnet_name="nodes",
            address_prefix=str(limits.node_range(settings)),
            nat_gateway=network.SubResourceArgs(id=nat.id),
            default_outbound_access=False,
            service_endpoints=[network.ServiceEndpointPropertiesFormatArgs(service="Microsoft.Storage")],
            opts=own,
        )
        self.subnet = subnet.id
        self.outbound = [address.ip_address.apply(lambda ip: f"{ip}/32")]
        self.register_outputs({})
