"""The machines that planned resources create in clouds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.nodes.machines import Cloud, machine_type
from infra.nodes.pools import Capacity
from infra.policies.manifest import PlannedResource
from infra.policies.values import UNKNOWN, any_unknown, known_members, lookup
from infra.targets.gcp.limits import DEFAULT_ZONES

LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"


@dataclass(frozen=True)
class Nodes:
    """Machines that a resource creates at most; a machine and a number can be `UNKNOWN`, or no such value."""

    cloud: Cloud
    machine: Any
    capacity: Capacity
    number: Any


def nodes_of(resource: PlannedResource, resources: Sequence[PlannedResource]) -> Iterator[Nodes]:
    """Yields the nodes of a node pool of any cloud."""
    props = resource.props
    match resource.token:
        case "aws:eks/nodeGroup:NodeGroup":
            capacity: Capacity = "spot" if lookup(props, "capacityType") == "SPOT" else "on_demand"
            yield Nodes("aws", _aws_machine(resource, resources), capacity, lookup(props, "scalingConfig", "maxSize"))
        case "kubernetes:karpenter.sh/v1:NodePool":
            yield from _karpenter_nodes(props)
        case "gcp:container/nodePool:NodePool":
            config = lookup(props, "nodeConfig")
            spot, flexible = lookup(config, "spot"), lookup(config, "flexStart")
            capacity = "spot" if spot is True else "queued" if flexible is True else "on_demand"
            yield Nodes("gcp", lookup(config, "machineType"), capacity, _gke_number(props))
        case "azure-native:containerservice:AgentPool":
            capacity = "spot" if lookup(props, "scaleSetPriority") == "Spot" else "on_demand"
            number = lookup(props, "maxCount")
            yield Nodes(
                "azure", lookup(props, "vmSize"), capacity, lookup(props, "count") if number is None else number
            )
        case "azure-native:containerservice:ManagedCluster":
            for pool in known_members(lookup(props, "agentPoolProfiles")):
                # A refresh lists the other pools here, too; they are resources of their own.
                if lookup(pool, "mode") == "System":
                    yield Nodes("azure", lookup(pool, "vmSize"), "on_demand", lookup(pool, "count"))


def _aws_machine(group: PlannedResource, resources: Sequence[PlannedResource]) -> Any:
    """Returns the machine type of a node group: for a Capacity Block, that of its launch template."""
    types = lookup(group.props, "instanceTypes")
    if types is UNKNOWN:
        return UNKNOWN
    if isinstance(types, list) and types:
        return types[0]
    templates = [r for r in resources if r.token == LAUNCH_TEMPLATE and r.name == group.name]
    return lookup(templates[0].props, "instanceType") if templates else None


def _karpenter_nodes(props: Any) -> Iterator[Nodes]:
    required: dict[str, Any] = {}
    for each in known_members(lookup(props, "spec", "template", "spec", "requirements")):
        values = lookup(each, "values")
        required[str(lookup(each, "key"))] = values[0] if isinstance(values, list) and values else values
    machine = required.get("node.kubernetes.io/instance-type")
    capacity: Capacity = "spot" if required.get("karpenter.sh/capacity-type") == "spot" else "on_demand"
    number = lookup(props, "spec", "replicas")
    if number is None:
        yield Nodes("aws", machine, capacity, _limited(machine, lookup(props, "spec", "limits", "cpu")))
    else:
        yield Nodes("aws", machine, capacity, number)


def _limited(machine: Any, cpus: Any) -> Any:
    """Returns how many machines a limit of CPUs allows."""
    found = machine_type("aws", machine) if isinstance(machine, str) else None
    return int(str(cpus)) // found.vcpus if found and str(cpus).isdigit() else UNKNOWN


def _gke_number(props: Any) -> Any:
    """Returns the most nodes of a GKE node pool, which counts fixed ones per zone."""
    total, per_zone = lookup(props, "autoscaling", "totalMaxNodeCount"), lookup(props, "nodeCount")
    zones = lookup(props, "nodeLocations")
    if total is not None or any_unknown(per_zone, zones) or not isinstance(per_zone, int | float):
        return UNKNOWN if total is None else total
    return per_zone * (len(zones) if isinstance(zones, list) and zones else DEFAULT_ZONES)
