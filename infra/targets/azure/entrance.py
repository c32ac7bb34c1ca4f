"""The address of the API's load balancer on Azure, and the record of its host in Azure DNS."""

from __future__ import annotations

from collections.abc import Mapping

from pulumi import Input, ResourceOptions
from pulumi_azure_native import dns, network

from infra.ingress_config import Ingress, zone_name
from infra.resources.provisioned_cluster import RECORD_S, Entrance

PREFIX = "service.beta.kubernetes.io/azure-"


def entrance(
    ingress: Ingress, name: str, group: Input[str], tags: Mapping[str, str], opts: ResourceOptions
) -> Entrance:
    """Reserves an address, which AKS gives to a load balancer if its identity may use it.

    https://learn.microsoft.com/azure/aks/static-ip
    """
    if not ingress.zone:
        return Entrance()
    address = network.PublicIPAddress(
        "entrance",
        resource_group_name=group,
        public_ip_address_name=f"{name}-entrance",
        public_ip_allocation_method="Static",
        sku=network.PublicIPAddressSkuArgs(name="Standard"),
        tags=tags,
        opts=opts,
    )
    zone = zone_name(ingress.zone)
    record = dns.RecordSet(
        "entrance-record",
        resource_group_name=ingress.zone.split("/")[4],
        zone_name=zone,
        relative_record_set_name=(ingress.host or "").removesuffix(f".{zone}"),
        record_type="A",
        ttl=RECORD_S,
        a_records=[dns.ARecordArgs(ipv4_address=address.ip_address)],
        opts=opts,
    )
    annotations = {f"{PREFIX}pip-name": address.name, f"{PREFIX}load-balancer-resource-group": group}
    return Entrance(annotations, [address, record])
