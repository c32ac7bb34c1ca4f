"""The pods of a stack with their requests, and its nodes in a cloud.

Requests of the chart's pods are read from the chart's values, so that they cannot diverge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from infra.cluster_config import Existing, Pool, Toleration
from infra.gpu import placement
from infra.gpu.machines import Cloud
from infra.gpu.pools import GPU
from infra.scheduling import weights
from infra.scheduling.resources import Resources
from infra.scheduling.scheduler import Group, PodRequest
from infra.targets.layout import CHECKOUT

if TYPE_CHECKING:
    from infra.config import StackConfig

MIGRATION = "the migration of the database"
"""Name of a pod that ends, after which what it requested is free."""


@cache
def _chart_values() -> Mapping[str, Any]:
    values: dict[str, Any] = yaml.load((CHECKOUT / "charts/headrace/values.yaml").read_text(), yaml.CSafeLoader)
    return values


def _requests(*path: str) -> Resources:
    at: Any = _chart_values()
    for name in path:
        at = at[name]
    requests = at["resources"]["requests"]
    return Resources.parse(str(requests["cpu"]), str(requests["memory"]))


def _worker(config: StackConfig, pool: Pool, number: int) -> PodRequest:
    storage = weights.temporary_storage(config, pool)
    own = Resources.parse(f"{pool.reserved_cpus or pool.cpus:g}", pool.memory, storage or "0", pool.gpus)
    tolerations = pool.tolerations
    if pool.gpus:
        tolerations = (*tolerations, Toleration(key=GPU, effect="NoSchedule"))
    i = next(i for i, other in enumerate(config.pools) if other.name == pool.name)
    return PodRequest(
        f"worker {number} of pool '{pool.name}'",
        own + _requests("exporter"),
        pool.selector,
        tolerations,
        f"pools[{i}]",
    )


def _head(config: StackConfig) -> PodRequest:
    autoscaler = _requests("autoscaling") if any(pool.max_replicas for pool in config.pools) else Resources()
    return PodRequest("the head", _requests("head") + _requests("head", "door") + _requests("exporter") + autoscaler)


def ray_cluster(config: StackConfig, *, most: bool) -> list[PodRequest]:
    """Returns head and workers of one Ray cluster; with `most`, an autoscaled pool has its maximum size."""
    pods = [_head(config)]
    for pool in config.pools:
        number = (pool.max_replicas or pool.replicas) if most else pool.replicas
        pods += [_worker(config, pool, i + 1) for i in range(number)]
    return pods


def second_ray_cluster(config: StackConfig) -> list[PodRequest]:
    """Returns the pods of the Ray cluster that an upgrade starts beside the first.

    The heads of both share a volume that only one node can mount: charts/headrace/templates/_head.tpl.
    """
    head, *workers = ray_cluster(config, most=False)
    return [replace(head, beside=head.name), *workers]


def _operators(config: StackConfig) -> Iterator[PodRequest]:
    if not isinstance(config.addons.kuberay, Existing):
        yield PodRequest("KubeRay's operator", Resources.parse("100m", "256Mi"))
    if config.database.kind == "cloudnativepg":
        if not isinstance(config.addons.postgres, Existing):
            yield PodRequest("CloudNativePG's operator", Resources.parse("100m", "128Mi"))
        for i in range(config.database.instances):
            yield PodRequest(f"database {i + 1}", Resources.parse("250m", "512Mi"))


def pods(config: StackConfig, cloud: Cloud) -> list[PodRequest]:
    """Returns all pods with requests, in the order in which they are created."""
    return [
        *(PodRequest(name, requests) for name, requests in placement.cloud_rules(cloud).SYSTEM_PODS),
        *_operators(config),
        PodRequest(MIGRATION, _requests("migrate")),
        *ray_cluster(config, most=True),
    ]


def groups(config: StackConfig, cloud: Cloud) -> list[Group] | None:
    """Returns the stack's nodes by pool; None if the size of a machine is unknown."""
    found = []
    rules, nodes = placement.NODE_POOL_RULES[config.target], placement.cloud_rules(cloud)
    scales = rules.scales(getattr(config, config.target))
    for pool in config.node_pools:
        machine = pool.machine(cloud)
        if machine is None:
            return None
        offers = nodes.allocatable(machine, pool.disk_gib) - nodes.NODE_PODS
        offers += Resources(gpus=placement.gpus_per_node(pool))
        most = pool.max_nodes if scales else pool.min_nodes
        found.append(Group(pool.name, offers, pool.min_nodes, most, pool.node_labels, tuple(rules.taints(pool))))
    return found
