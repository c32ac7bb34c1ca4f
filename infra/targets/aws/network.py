"""The network of an EKS cluster: a new VPC with private nodes, or an existing one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from infra import cloud_config
from infra.targets.aws.settings import Aws

ANYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class ZoneRanges:
    """Address ranges of one availability zone."""

    name: str
    private: IPv4Network
    public: IPv4Network


def zone_ranges(cidr: IPv4Network, zones: Iterable[str]) -> list[ZoneRanges]:
    """Returns the ranges of `zones`, each of them once.

    A zone's ranges depend only on its letter: of eight equal blocks, zones a to f have one each for nodes and pods,
    and the last block is divided into public subnets.
    """
    blocks = list(cidr.subnets(prefixlen_diff=3))
    public = list(blocks[-1].subnets(prefixlen_diff=3))
    places = [(name, ord(name[-1]) - ord("a")) for name in sorted(set(zones))]
    return [ZoneRanges(name, blocks[place], public[place]) for name, place in places]


class AwsNetwork(pulumi.ComponentResource):
    """Subnets for each zone. Nodes have no public addresses and use one NAT gateway for outgoing connections."""

    id: Output[str]
    cidr: Input[str]
    control_plane: Sequence[Input[str]]
    """Subnets of the control plane."""
    nodes: Sequence[Input[str]]
    """Subnets of nodes."""
    public: Mapping[str, Output[str]]
    """Subnets of load balancers by zone; empty for an existing network."""
    ready: Sequence[pulumi.Resource]
    """Resources that nodes need to reach the control plane and registries."""
    _by_zone: dict[str, Output[str]] | None = None
    """Node subnets of a new network."""
    _zone_of: Sequence[Output[Sequence[str]]] = ()
    """Subnets of an existing network with their zones, which AWS returns."""

    def __init__(
        self, settings: Aws, network: cloud_config.Network, asked: Sequence[str], title: str, opts: ResourceOptions
    ) -> None:
        super().__init__("headrace:aws:Network", "network", opts=opts)
        self._own = ResourceOptions(parent=self)
        self._title = title
        if network.existing:
            self._adopt_existing(network)
        else:
            self._create(settings, network.cidr, asked)
        self.register_outputs({"id": self.id})

    def subnets_in(self, asked: Sequence[str]) -> Input[Sequence[Input[str]]]:
        """Returns the node subnets of zones, by default of all. `up` fails if an existing network has none of them."""
        if not asked:
            return self.nodes
        if self._by_zone is not None:
            return [self._by_zone[zone] for zone in asked]
        return Output.all(*self._zone_of).apply(lambda found: subnets_in_zones(found, asked))

    def _adopt_existing(self, network: cloud_config.Network) -> None:
        vpc = aws.ec2.Vpc.get("adopted-vpc", network.existing, opts=self._own)
        subnets = [
            aws.ec2.Subnet.get(f"adopted-subnet-{i}", id, opts=self._own) for i, id in enumerate(network.subnets)
        ]
        self.id, self.cidr = vpc.id, vpc.cidr_block
        self.nodes = self.control_plane = list(network.subnets)
        self.ready, self.public = (), {}
        self._zone_of = [Output.all(s.id, s.availability_zone) for s in subnets]

    def _create(self, settings: Aws, cidr: IPv4Network, asked: Sequence[str]) -> None:
        vpc = aws.ec2.Vpc(
            "vpc",
            cidr_block=str(cidr),
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={"Name": self._title},
            opts=self._own,
        )
        out = aws.ec2.InternetGateway("internet", vpc_id=vpc.id, opts=self._own)
        outside = aws.ec2.RouteTable(
            "public",
            vpc_id=vpc.id,
            routes=[aws.ec2.RouteTableRouteArgs(cidr_block=ANYWHERE, gateway_id=out.id)],
            opts=self._own,
        )
        private: dict[str, Output[str]] = {}
        public: list[tuple[Output[str], pulumi.Resource]] = []
        here = zone_ranges(cidr, [*settings.control_plane_zones, *asked])
        for zone in here:
            shown = self._subnet(f"public-{zone.name}", vpc, zone.name, zone.public, "elb")
            public.append((shown.id, self._route(f"public-{zone.name}", shown, outside)))
        address = aws.ec2.Eip("nat", domain="vpc", opts=self._options(out))
        # The routes must outlive the NAT gateway: nodes still use it while they are drained.
        nat = aws.ec2.NatGateway(
            "nat", allocation_id=address.id, subnet_id=public[0][0], opts=self._options(*(route for _, route in public))
        )
        inside = aws.ec2.RouteTable(
            "private",
            vpc_id=vpc.id,
            routes=[aws.ec2.RouteTableRouteArgs(cidr_block=ANYWHERE, nat_gateway_id=nat.id)],
            opts=self._own,
        )
        ready: list[pulumi.Resource] = []
        for zone in here:
            hidden = self._subnet(f"private-{zone.name}", vpc, zone.name, zone.private, "internal-elb")
            ready.append(self._route(f"private-{zone.name}", hidden, inside))
            private[zone.name] = hidden.id
        # Models and images come from S3 without passing the NAT gateway, which charges by the byte.
        bucket = aws.ec2.VpcEndpoint(
            "s3",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{settings.region}.s3",
            route_table_ids=[inside.id],
            opts=self._own,
        )
        self.id, self.cidr = vpc.id, str(cidr)
        self.control_plane = [private[zone] for zone in settings.control_plane_zones]
        self.nodes = list(private.values())
        self.ready = [*ready, bucket]
        self._by_zone = private
        self.public = {zone.name: id for zone, (id, _) in zip(here, public, strict=True)}

    def _subnet(self, name: str, vpc: aws.ec2.Vpc, zone: str, cidr: IPv4Network, role: str) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            name,
            vpc_id=vpc.id,
            availability_zone=zone,
            cidr_block=str(cidr),
            map_public_ip_on_launch=False,
            tags={"Name": f"{self._title}-{name}", f"kubernetes.io/role/{role}": "1"},
            opts=self._own,
        )

    def _route(self, name: str, subnet: aws.ec2.Subnet, table: aws.ec2.RouteTable) -> aws.ec2.RouteTableAssociation:
        return aws.ec2.RouteTableAssociation(name, subnet_id=subnet.id, route_table_id=table.id, opts=self._own)

    def _options(self, *resources: pulumi.Resource) -> ResourceOptions:
        return ResourceOptions(parent=self, depends_on=list(resources))


def subnets_in_zones(found: Sequence[Sequence[str]], asked: Sequence[str]) -> list[str]:
    """Returns the subnets in the zones `asked`; `found` has pairs of subnet and zone. Raises `RunError` if none is."""
    subnets = [id for id, zone in found if zone in asked]
    if not subnets:
        zones = ", ".join(sorted({zone for _, zone in found}))
        raise pulumi.RunError(f"headrace:cluster.network.subnets has none in {', '.join(asked)}, only in {zones}")
    return subnets
