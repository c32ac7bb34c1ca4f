"""The address of the API's load balancer on Google Cloud, and the record of its host in Cloud DNS."""

from __future__ import annotations

import pulumi_gcp as gcp
from pulumi import ResourceOptions

from infra.ingress_config import Ingress
from infra.resources.provisioned_cluster import RECORD_S, Entrance


def entrance(ingress: Ingress, name: str, region: str, opts: ResourceOptions) -> Entrance:
    """Reserves an address, which GKE gives to a load balancer that is based on a backend service.

    https://docs.cloud.google.com/kubernetes-engine/docs/concepts/service-load-balancer-parameters
    """
    if not ingress.zone:
        return Entrance()
    api = gcp.projects.Service("service-dns", service="dns.googleapis.com", disable_on_destroy=False, opts=opts)
    address = gcp.compute.Address("entrance", name=name, region=region, address_type="EXTERNAL", opts=opts)
    record = gcp.dns.RecordSet(
        "entrance-record",
        managed_zone=ingress.zone,
        name=f"{ingress.host}.",
        type="A",
        ttl=RECORD_S,
        rrdatas=[address.address],
        opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[api])),
    )
    annotations = {
        "cloud.google.com/l4-rbs": "enabled",
        "networking.gke.io/load-balancer-ip-addresses": address.name,
    }
    return Entrance(annotations, [address, record])
