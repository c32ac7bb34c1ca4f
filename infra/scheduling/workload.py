"""The pods of a stack with their requests, and its nodes in a cloud.

Requests of the chart's pods are read from the chart's values, so that they cannot diverge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from infra.addons import ADDONS
from infra.addons.addon import AddonPod
from infra.addons.postgres import REQUESTS as DATABASE
from infra.cluster_config import Pool, Toleration
from infra.gpu import placement, weights
from infra.layout import CHECKOUT
from infra.nodes.machines import Cloud, MachineType
from infra.nodes.pools import GPU, NodePool
from infra.nodes.resources import Resources
from infra.nodes.scheduler import Group, PodRequest, allowed
from serving.config import KServeModel

if TYPE_CHECKING:
    from infra.config import StackConfig

MIGRATION = "the migration of the database"
BACKUP = "a backup"

ONE = Resources(pods=1)

HEAD_CHECK = Resources.parse("200m", "256Mi")
"""Requests of the init container that KubeRay adds to workers, which waits for the head."""

STORAGE_INITIALIZER = Resources.parse("100m", "100Mi")
"""Requests of the init container that KServe adds, which fetches the weights."""


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
    # Init containers run before the others, one after the other: the first without the exporter.
    requests = _requests("migrate") | (HEAD_CHECK | own) + _requests("exporter")
    i = next(i for i, other in enumerate(config.pools) if other.name == pool.name)
    name, tolerations = f"worker {number} of pool '{pool.name}'", _tolerations(pool, pool.gpus)
    return PodRequest(name, requests + ONE, pool.selector, tolerations, f"pools[{i}]")


def _tolerations(pool: Pool | None, gpus: int) -> tuple[Toleration, ...]:
    own = pool.tolerations if pool else ()
    return (*own, Toleration(key=GPU, effect="NoSchedule")) if gpus else own


def _head(config: StackConfig) -> PodRequest:
    autoscaler = _requests("autoscaling") if config.autoscaled else Resources()
    own = _requests("head") + _requests("head", "door") + _requests("exporter") + autoscaler
    return PodRequest("the head", own + ONE)


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


def _addon_pods(config: StackConfig) -> Iterator[AddonPod]:
    for addon in ADDONS:
        if addon.choice(config) == "install":
            yield from addon.pods(config)


def _database(config: StackConfig) -> Iterator[PodRequest]:
    if config.database.kind == "cloudnativepg":
        requests = Resources.parse(DATABASE["cpu"], DATABASE["memory"]) + ONE
        for i in range(config.database.instances):
            yield PodRequest(f"database {i + 1}", requests, key="database")


def _jobs(config: StackConfig) -> Iterator[PodRequest]:
    """Yields pods that end, after which what they requested is free."""
    yield PodRequest(MIGRATION, _requests("migrate") + ONE)
    for i, collection in enumerate(config.knowledge):
        yield PodRequest(f"the ingestion of '{collection.name}'", _requests("ingest") + ONE, key=f"knowledge[{i}]")
    if config.backup.claim:
        yield PodRequest(BACKUP, _requests("backup") + ONE, key="backup")


def _kserve(config: StackConfig) -> Iterator[PodRequest]:
    pools = {pool.name: pool for pool in config.pools}
    for i, model in enumerate(config.models):
        if not isinstance(model, KServeModel) or model.existing:
            continue
        pool = pools.get(model.pool or "")
        own = Resources.parse(f"{model.cpus:g}", str(model.memory_bytes), gpus=model.gpus)
        number = (model.scaling.max_replicas if model.scaling else model.replicas) + bool(model.canary)
        for replica in range(number):
            yield PodRequest(
                f"pod {replica + 1} of '{model.name}'",
                (STORAGE_INITIALIZER | own) + ONE,
                pool.selector if pool else {},
                _tolerations(pool, model.gpus),
                f"models[{i}]",
            )


def pods(config: StackConfig, cloud: Cloud) -> list[PodRequest]:
    """Returns all pods with requests, in the order in which they are created."""
    return [*_lasting(config, cloud), *_jobs(config), *ray_cluster(config, most=True), *_kserve(config)]


def _lasting(config: StackConfig, cloud: Cloud) -> Iterator[PodRequest]:
    """Yields the pods of neither the chart nor KServe."""
    for name, requests in placement.cloud_rules(cloud).system_pods(getattr(config, config.target)):
        yield PodRequest(name, requests + ONE, critical=True)
    for pod in _addon_pods(config):
        if not pod.every_node:
            yield PodRequest(pod.name, pod.requests + ONE)
    yield from _database(config)


def after_jobs(config: StackConfig, cloud: Cloud) -> list[PodRequest]:
    """Returns the pods that remain after the jobs of the first start."""
    return [*_lasting(config, cloud), *ray_cluster(config, most=True), *_kserve(config)]


def groups(config: StackConfig, cloud: Cloud) -> list[Group] | None:
    """Returns the stack's nodes by pool; None if the size of a machine is unknown."""
    found = []
    rules, nodes = placement.NODE_POOL_RULES[config.target], placement.cloud_rules(cloud)
    scales = rules.scales(getattr(config, config.target))
    daemons = [pod for pod in _addon_pods(config) if pod.every_node]
    for pool in config.node_pools:
        machine = pool.machine(cloud)
        if machine is None:
            return None
        offers = nodes.allocatable(machine, pool.root_disk_gib) - nodes.NODE_PODS
        offers += Resources(gpus=placement.gpus_per_node(pool))
        most = pool.max_nodes if scales else pool.min_nodes
        group = Group(pool.name, offers, pool.min_nodes, most, _labels(pool, machine), tuple(rules.taints(pool)))
        for daemon in daemons:
            request = PodRequest(daemon.name, daemon.requests + ONE, tolerations=daemon.tolerations)
            if allowed(request, group):
                group = replace(group, offers=group.offers - request.requests)
        found.append(group)
    return found


def _labels(pool: NodePool, machine: MachineType) -> dict[str, str]:
    """Returns the labels of a pool's nodes that are known: those of the settings, and of every cloud."""
    zone = {"topology.kubernetes.io/zone": pool.zones[0]} if len(pool.zones) == 1 else {}
    general = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    return {**general, "node.kubernetes.io/instance-type": machine.name, **zone, **pool.node_labels}
