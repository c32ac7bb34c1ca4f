"""A stack whose cluster is made, said as one on a cluster that is there: its pods' nodes, and who owns the GPUs.

On each node one party owns the driver and one advertises `nvidia.com/gpu`: `Owners` has room for no second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from infra import onprem_config
from infra.cluster_config import Existing, Pool, Toleration
from infra.gpu import aws, azure, gcp, machines
from infra.gpu.accelerators import Accelerator, accelerator, named
from infra.gpu.pools import POOL_LABEL, Driver, NodePool, Taint
from infra.mistakes import Mistake

if TYPE_CHECKING:
    from infra.config import StackConfig

Advertiser = Literal["cloud", "device_plugin", "operator"]

DEVICE_PLUGIN_CONFIG = "nvidia.com/device-plugin.config"
"""Label of a node: which of the device plugin's configurations is its own."""

MIG_CONFIG = "nvidia.com/mig.config"
"""Label of a node: how the GPU operator slices its GPUs."""


@dataclass(frozen=True)
class Maker:
    """What a cloud, or SSH, can do with node pools, without its SDK."""

    mistakes: Callable[..., list[Mistake]]
    advertises: Callable[..., bool]
    cloud: machines.Cloud | None
    """Whose machine types its nodes are; None: they are nobody's."""
    pools: Callable[[StackConfig], tuple[NodePool, ...]] = attrgetter("node_pools")
    taints: Callable[[NodePool], Sequence[Taint]] = attrgetter("node_taints")
    """Of a pool's nodes, those that the cloud adds among them."""


MAKERS = {
    "aws": Maker(aws.mistakes, aws.advertises, "aws"),
    "gcp": Maker(gcp.mistakes, gcp.advertises, "gcp"),
    "azure": Maker(azure.mistakes, azure.advertises, "azure", taints=azure.taints),
    "onprem": Maker(
        lambda settings, *_: onprem_config.mistakes(settings),
        lambda *_: False,
        None,
        pools=lambda config: onprem_config.node_pools(config.onprem),
    ),
}
"""By target."""


@dataclass(frozen=True)
class Owners:
    """Of the GPUs of a node."""

    driver: Driver
    advertiser: Advertiser


def owners(config: StackConfig, pool: NodePool) -> Owners:
    """Who owns the driver of a pool's GPUs, and who advertises them."""
    if pool.driver_owner == "operator":
        return Owners("operator", "operator")
    built_in = MAKERS[config.target].advertises(getattr(config, config.target), pool)
    return Owners(pool.driver_owner, "cloud" if built_in else "device_plugin")


def node_pools(config: StackConfig) -> tuple[NodePool, ...]:
    """The node pools of a stack; hosts of one `pool` are one."""
    return MAKERS[config.target].pools(config) if config.target in MAKERS else ()


def node_pool(config: StackConfig, pool: Pool) -> NodePool | None:
    """The nodes of a pool of pods; None where they are not the stack's, or not named."""
    return next((n for n in node_pools(config) if n.name == pool.node_pool), None)


def units(pool: NodePool) -> int:
    """`nvidia.com/gpu` that one node offers: GPUs, shares or slices of them."""
    if pool.sharing.kind == "mig":
        gpu = named(pool.accelerator)
        return pool.gpus * dict(gpu.mig if gpu else ()).get(pool.sharing.profile, 1)
    return pool.gpus * pool.sharing.replicas


def gpu(config: StackConfig, pool: Pool) -> Accelerator | None:
    """One `nvidia.com/gpu` of a pool of pods; None when its memory is not known."""
    nodes = node_pool(config, pool)
    if nodes is None:
        return accelerator(pool.accelerator)
    whole = named(nodes.accelerator)
    match nodes.sharing.kind:
        case "time_slicing":
            return None  # the others on it leave nobody knows how much
        case "mig" if whole:
            return accelerator(f"{whole.product}-MIG-{nodes.sharing.profile}")
        case "mps" if whole:
            return replace(whole, memory_bytes=whole.memory_bytes // nodes.sharing.replicas)
    return whole


def lowered(config: StackConfig) -> StackConfig:
    """The same stack with pods placed on node pools, and add-ons that fit who owns the GPUs."""
    if config.target not in MAKERS:
        return config
    nodes = tuple(_labelled(config, pool) for pool in node_pools(config))
    update: dict[str, Any] = {"node_pools": nodes, "pools": tuple(_placed(config, pool) for pool in config.pools)}
    found = {owners(config, pool) for pool in nodes if pool.gpus}
    if len(found) == 1 and config.addons.gpu == "auto":
        [owner] = found
        chosen: dict[str, Any] = {"gpu_driver": "operator" if owner.driver == "operator" else "host"}
        if owner.advertiser == "cloud":
            chosen["gpu"] = Existing(existing="what the cloud's nodes bring")
        update["addons"] = config.addons.model_copy(update=chosen)
    return config.model_copy(update=update)


def _labelled(config: StackConfig, pool: NodePool) -> NodePool:
    labels = dict(pool.labels)
    if pool.gpus:
        advertiser = owners(config, pool).advertiser
        if pool.sharing.kind in ("time_slicing", "mps") and advertiser != "cloud":
            labels[DEVICE_PLUGIN_CONFIG] = pool.name
        if pool.sharing.kind == "mig" and advertiser == "operator":
            labels[MIG_CONFIG] = f"all-{pool.sharing.profile}"
    return pool.model_copy(update={"labels": labels})


def _placed(config: StackConfig, pool: Pool) -> Pool:
    nodes = node_pool(config, pool)
    if nodes is None:
        return pool
    tolerated = [
        Toleration(key=t.key, operator="Equal" if t.value else "Exists", value=t.value, effect=t.effect)
        for t in MAKERS[config.target].taints(nodes)
    ]
    return pool.model_copy(
        update={
            "node_selector": {POOL_LABEL: nodes.name, **pool.node_selector},
            "tolerations": (*tolerated, *pool.tolerations),
        }
    )


def mistakes(config: StackConfig) -> list[Mistake]:
    """What node pools cannot be, in themselves and together with the pods that are to run on them."""
    if config.target not in MAKERS:
        return [
            Mistake(
                f"pools[{i}].node_pool", "names a node pool, and the cluster is not the stack's", "use node_selector"
            )
            for i, pool in enumerate(config.pools)
            if pool.node_pool
        ]
    settings = getattr(config, config.target)
    found = MAKERS[config.target].mistakes(settings, config.cluster, config.node_pools)
    return [*found, *_names(config), *_one_owner(config), *_room(config)]


def _names(config: StackConfig) -> list[Mistake]:
    names = [pool.name for pool in node_pools(config)]
    twice = [
        Mistake(f"node_pools[{i}].name", f"'{n}' is already node_pools[{names.index(n)}].name", "choose another name")
        for i, n in enumerate(names)
        if n in names[:i]
    ]
    return twice + [
        Mistake.unknown(f"pools[{i}].node_pool", pool.node_pool, "node pool", names)
        for i, pool in enumerate(config.pools)
        if pool.node_pool and pool.node_pool not in names
    ]


def _one_owner(config: StackConfig) -> list[Mistake]:
    """The operator's and the plugin's pods cannot be kept off each other's nodes in every cloud: one for all."""
    with_gpus = [(i, pool) for i, pool in enumerate(node_pools(config)) if pool.gpus]
    if not with_gpus:
        return []
    first = owners(config, with_gpus[0][1])
    return [
        Mistake(
            f"node_pools[{i}].driver",
            f"its GPUs have driver owner '{other.driver}' and advertiser '{other.advertiser}', those of"
            f" '{with_gpus[0][1].name}' '{first.driver}' and '{first.advertiser}'",
            "give all pools with GPUs the same driver",
        )
        for i, pool in with_gpus[1:]
        if (other := owners(config, pool)) != first
    ]


def _room(config: StackConfig) -> list[Mistake]:
    """Pods of a pool with GPUs must find nodes that have them."""
    found = []
    there = node_pools(config)
    for i, pool in enumerate(config.pools):
        nodes = node_pool(config, pool)
        if pool.gpus and not pool.node_pool and there:
            with_gpus: Sequence[str] = [n.name for n in there if n.gpus]
            fix = f"name one of {', '.join(with_gpus)}" if with_gpus else "add a node pool with GPUs"
            found.append(Mistake(f"pools[{i}].node_pool", "is missing, and its pods have GPUs", fix))
        if nodes is None:
            continue
        if pool.accelerator:
            fix = f"remove it: '{nodes.name}' says what its GPUs are"
            found.append(Mistake(f"pools[{i}].accelerator", "stands beside node_pool", fix))
        cloud = MAKERS[config.target].cloud
        machine = nodes.machine(cloud) if cloud else None
        needed = pool.reserved_cpus or pool.cpus
        if machine and needed > machine.vcpus:
            problem = f"{needed:g} are more than the {machine.vcpus} of {machine.name} in '{nodes.name}'"
            found.append(Mistake(f"pools[{i}].cpus", problem, "lower them, or take larger machines"))
        if pool.gpus > units(nodes):
            problem = f"{pool.gpus} are more than the {units(nodes)} that a node of '{nodes.name}' offers"
            found.append(Mistake(f"pools[{i}].gpus", problem, "lower it, or take machines with more GPUs"))
        elif pool.gpus:
            each = units(nodes) // pool.gpus
            pods = pool.max_replicas or pool.replicas
            if pods > each * nodes.max_nodes:
                problem = f"{pods} pods of {pool.gpus} need more than max_nodes x {each} = {each * nodes.max_nodes}"
                found.append(Mistake(f"pools[{i}].replicas", problem, f"raise max_nodes of '{nodes.name}'"))
    return found
