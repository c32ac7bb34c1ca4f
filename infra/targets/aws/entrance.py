"""The addresses of the API's load balancer on AWS, and the record of its host in Route 53."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from infra.ingress_config import Ingress
from infra.resources.provisioned_cluster import RECORD_S, Entrance

PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"


def entrance(ingress: Ingress, subnets: Mapping[str, Output[str]], title: str, opts: ResourceOptions) -> Entrance:
    """Reserves an address in each public subnet, by zone: a Network Load Balancer takes exactly one in each.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html#availability-zones
    """
    if not ingress.zone:
        return Entrance()
    addresses = [
        aws.ec2.Eip(f"entrance-{zone}", domain="vpc", tags={"Name": f"{title}-entrance-{zone}"}, opts=opts)
        for zone in subnets
    ]
    record = aws.route53.Record(
        "entrance",
        zone_id=ingress.zone,
        name=ingress.host,
        type="A",
        ttl=RECORD_S,
        records=[address.public_ip for address in addresses],
        opts=opts,
    )
    ids = Output.all(*(address.allocation_id for address in addresses))
    annotations = {
        f"{PREFIX}eip-allocations": ids.apply(",".join),
        f"{PREFIX}subnets": Output.all(*subnets.values()).apply(",".join),
    }
    return Entrance(annotations, [*addresses, record])
