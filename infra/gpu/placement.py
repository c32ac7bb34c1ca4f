"""Places the pools of pods on node pools of a cluster that the stack creates, and decides who owns the GPUs.

On each node, exactly one party installs the driver and one advertises `nvidia.com/gpu`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from infra import onprem_config
from infra.cloud_config import Cluster
from infra.cluster_config import Existing, Pool, Toleration
from infra.gpu import disks
from infra.mistakes import Mistake
from infra.nodes import machines
from infra.nodes.accelerators import Accelerator, accelerator_by_key, accelerator_by_product
from infra.nodes.machines import MachineType
from infra.nodes.pools import POOL_LABEL, Driver, NodePool, Taint
from infra.nodes.resources import Resources
from serving.config import KServeModel

if TYPE_CHECKING:
    from infra.config import StackConfig

Advertiser = Literal["cloud", "device_plugin", "operator"]

DEVICE_PLUGIN_CONFIG = "nvidia.com/device-plugin.config"
"""Node label with the name of the device plugin's configuration."""

MIG_CONFIG = "nvidia.com/mig.config"
"""Node label with the MIG configuration that the GPU operator applies."""


class CloudRules(Protocol):
    """The interface of a cloud's module `limits`, which may also have `taints` and `scales`."""

    NODE_PODS: Resources
    STORE: str

    def mistakes(self, settings: Any, cluster: Cluster, pools: Sequence[NodePool]) -> list[Mistake]:
        """Reports settings that the cloud does not support."""
        ...

    def advertises(self, settings: Any, pool: NodePool) -> bool:
        """Returns whether the nodes themselves advertise `nvidia.com/gpu`."""
        ...

    def allocatable(self, machine: machines.MachineType, disk_gib: int) -> Resources:
        """Returns what a node offers to pods, of which `NODE_PODS` take some."""
        ...

    def system_pods(self, settings: Any) -> Sequence[tuple[str, Resources]]:
        """Returns the requests of the cloud's other pods that run on the stack's nodes, with their names."""
        ...


def cloud_rules(cloud: machines.Cloud) -> CloudRules:
    """Returns the limits of a cloud, which are in its folder."""
    return cast(CloudRules, importlib.import_module(f"infra.targets.{cloud}.limits"))


@dataclass(frozen=True)
class NodePoolRules:
    """The rules of a cloud, or of on-premises hosts, for node pools. They need no SDK."""

    mistakes: Callable[..., list[Mistake]]
    advertises: Callable[..., bool]
    cloud: machines.Cloud | None
    """The cloud whose machine types its nodes have; None: on-premises hosts."""
    pools: Callable[[StackConfig], tuple[NodePool, ...]] = attrgetter("node_pools")
    taints: Callable[[NodePool], Sequence[Taint]] = attrgetter("node_taints")
    """Taints of a pool's nodes, including those that the cloud adds."""
    scales: Callable[..., bool] = lambda _: True
    """Whether pools grow from `min_nodes` to `max_nodes` by themselves, by the target's settings."""
    system_pools: Sequence[NodePool] = ()
    """Node pools that the stack creates besides those of its configuration, for pods of the cloud alone."""


def _rules_of(cloud: machines.Cloud) -> NodePoolRules:
    """Returns the rules of a cloud, by the names of its module; the last three have defaults."""
    module = cloud_rules(cloud)
    own = {name: getattr(module, name) for name in ("taints", "scales") if hasattr(module, name)}
    own["system_pools"] = getattr(module, "SYSTEM_POOLS", ())
    return NodePoolRules(module.mistakes, module.advertises, cloud, **own)


NODE_POOL_RULES: dict[str, NodePoolRules] = {
    **{cloud: _rules_of(cloud) for cloud in machines.CLOUDS},
    "onprem": NodePoolRules(
        lambda settings, *_: onprem_config.mistakes(settings),
        lambda *_: False,
        None,
        pools=lambda config: onprem_config.node_pools(config.onprem),
    ),
}
"""Rules by target."""


@dataclass(frozen=True)
class GpuOwners:
    """Who installs the driver of a node's GPUs, and who advertises them."""

    driver: Driver
    advertiser: Advertiser


def gpu_owners(config: StackConfig, pool: NodePool) -> GpuOwners:
    """Returns who installs the driver of a pool's GPUs, and who advertises them."""
    if pool.driver_owner == "operator":
        return GpuOwners("operator", "operator")
    built_in = NODE_POOL_RULES[config.target].advertises(getattr(config, config.target), pool)
    return GpuOwners(pool.driver_owner, "cloud" if built_in else "device_plugin")


def node_pools(config: StackConfig) -> tuple[NodePool, ...]:
    """Returns the node pools of a stack; on-premises hosts with the same `pool` are one."""
    return NODE_POOL_RULES[config.target].pools(config) if config.target in NODE_POOL_RULES else ()


def node_pool_for(config: StackConfig, pool: Pool) -> NodePool | None:
    """Returns the node pool of a pool of pods; None if it names none, or the stack has none."""
    return next((n for n in node_pools(config) if n.name == pool.node_pool), None)


def gpus_per_node(pool: NodePool) -> int:
    """Returns how many `nvidia.com/gpu` each node offers: GPUs, shares or slices."""
    if pool.sharing.kind == "mig":
        gpu = accelerator_by_key(pool.accelerator)
        return pool.gpus * next((s.count for s in (gpu.mig if gpu else ()) if s.profile == pool.sharing.profile), 1)
    return pool.gpus * pool.sharing.replicas


def node_accelerator(pool: NodePool) -> Accelerator | None:
    """Returns the kind of GPU of a node pool; None if it has none, or one that is not in the catalogue."""
    return accelerator_by_key(pool.accelerator)


def pool_gpu(config: StackConfig, pool: Pool) -> Accelerator | None:
    """Returns what one `nvidia.com/gpu` is for a pool of pods; None if its memory is unknown."""
    nodes = node_pool_for(config, pool)
    if nodes is None:
        return accelerator_by_product(pool.accelerator)
    whole = node_accelerator(nodes)
    match nodes.sharing.kind:
        case "time_slicing" | "mps":
            return None  # how much memory the other pods leave is unknown; with MPS, the stack's pods are refused
        case "mig" if whole:
            return accelerator_by_product(f"{whole.product}-MIG-{nodes.sharing.profile}")
    return whole


CLOUD_PLUGIN = Existing(existing="the device plugin of the cloud's nodes")
"""The choice of the GPU add-on where the nodes advertise their GPUs themselves."""


def place(config: StackConfig) -> StackConfig:
    """Returns the configuration with pods placed on node pools, and the GPU add-on set for the owners of the GPUs."""
    if config.target not in NODE_POOL_RULES:
        return config
    nodes = tuple(_place_nodes(config, pool) for pool in node_pools(config))
    update: dict[str, Any] = {"node_pools": nodes, "pools": tuple(_place_pool(config, pool) for pool in config.pools)}
    found = {gpu_owners(config, pool) for pool in nodes if pool.gpus}
    if len(found) == 1 and config.addons.gpu == "auto":
        [owner] = found
        chosen: dict[str, Any] = {"gpu_driver": "operator" if owner.driver == "operator" else "host"}
        if owner.advertiser == "cloud":
            chosen["gpu"] = CLOUD_PLUGIN
        update["addons"] = config.addons.model_copy(update=chosen)
    return config.model_copy(update=update)


def node_use(config: StackConfig, pool: NodePool) -> tuple[MachineType, disks.Use] | None:
    """Returns the machine of a pool's nodes, and what each stores; None if the machine is unknown."""
    cloud = NODE_POOL_RULES[config.target].cloud
    machine = pool.machine(cloud) if cloud else None
    return None if machine is None else (machine, disks.use(config, pool, machine, gpus_per_node(pool)))


def _place_nodes(config: StackConfig, pool: NodePool) -> NodePool:
    """Returns a node pool with its labels and the sizes of its disks."""
    pool = _label_nodes(config, pool)
    if (found := node_use(config, pool)) is None:
        return pool
    machine, needs = found
    rules = cloud_rules(machine.cloud)
    largest: int = getattr(rules, "MAX_DISK_GIB", 16_384)
    return disks.sized(pool, needs, machine, rules.allocatable, largest)


def _label_nodes(config: StackConfig, pool: NodePool) -> NodePool:
    labels = dict(pool.labels)
    if pool.gpus:
        advertiser = gpu_owners(config, pool).advertiser
        if pool.sharing.kind in ("time_slicing", "mps") and advertiser != "cloud":
            labels[DEVICE_PLUGIN_CONFIG] = pool.name
        if pool.sharing.kind == "mig" and advertiser == "operator":
            labels[MIG_CONFIG] = f"all-{pool.sharing.profile}"
    return pool.model_copy(update={"labels": labels})


def _place_pool(config: StackConfig, pool: Pool) -> Pool:
    nodes = node_pool_for(config, pool)
    if nodes is None:
        return pool
    tolerated = [
        Toleration(key=t.key, operator="Equal" if t.value else "Exists", value=t.value, effect=t.effect)
        for t in NODE_POOL_RULES[config.target].taints(nodes)
    ]
    return pool.model_copy(
        update={
            "node_selector": {POOL_LABEL: nodes.name, **pool.node_selector},
            "tolerations": (*tolerated, *pool.tolerations),
        }
    )


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports node pools that the target cannot provide, and pods that do not fit on theirs."""
    if config.target not in NODE_POOL_RULES:
        return [
            Mistake(
                f"pools[{i}].node_pool",
                "names a node pool, but the stack does not create this cluster",
                "use node_selector",
            )
            for i, pool in enumerate(config.pools)
            if pool.node_pool
        ]
    settings = getattr(config, config.target)
    found = NODE_POOL_RULES[config.target].mistakes(settings, config.cluster, config.node_pools)
    return [*found, *_names(config), *_single_owner(config), *_capacity(config), *_sharing(config)]


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


def _single_owner(config: StackConfig) -> list[Mistake]:
    """Reports different GPU owners: operator and device plugin cannot be kept off each other's nodes in all clouds."""
    with_gpus = [(i, pool) for i, pool in enumerate(node_pools(config)) if pool.gpus]
    if not with_gpus:
        return []
    first = gpu_owners(config, with_gpus[0][1])
    return [
        Mistake(
            f"node_pools[{i}].driver",
            f"its GPUs have driver owner '{other.driver}' and advertiser '{other.advertiser}', but those of"
            f" '{with_gpus[0][1].name}' have '{first.driver}' and '{first.advertiser}'",
            "give all pools with GPUs the same driver",
        )
        for i, pool in with_gpus[1:]
        if (other := gpu_owners(config, pool)) != first
    ]


def _capacity(config: StackConfig) -> list[Mistake]:
    """Reports pools whose nodes have too few GPUs, CPUs or room for the pods."""
    found = []
    all_nodes = node_pools(config)
    for i, pool in enumerate(config.pools):
        nodes = node_pool_for(config, pool)
        if pool.gpus and not pool.node_pool and all_nodes:
            with_gpus: Sequence[str] = [n.name for n in all_nodes if n.gpus]
            fix = f"use one of {', '.join(with_gpus)}" if with_gpus else "add a node pool with GPUs"
            found.append(Mistake(f"pools[{i}].node_pool", "is missing, but the pods have GPUs", fix))
        if nodes is None:
            continue
        if pool.accelerator:
            fix = f"remove it: '{nodes.name}' determines the GPUs"
            found.append(Mistake(f"pools[{i}].accelerator", "cannot be combined with node_pool", fix))
        cloud = NODE_POOL_RULES[config.target].cloud
        machine = nodes.machine(cloud) if cloud else None
        needed = pool.reserved_cpus or pool.cpus
        if machine and needed > machine.vcpus:
            problem = f"{needed:g} is more than the {machine.vcpus} vCPUs of {machine.name} in '{nodes.name}'"
            found.append(Mistake(f"pools[{i}].cpus", problem, "lower it, or use larger machines"))
        if pool.gpus > gpus_per_node(nodes):
            problem = f"{pool.gpus} is more than the {gpus_per_node(nodes)} of a node in '{nodes.name}'"
            found.append(Mistake(f"pools[{i}].gpus", problem, "lower it, or use machines with more GPUs"))
        elif pool.gpus:
            each = gpus_per_node(nodes) // pool.gpus
            pods = pool.max_replicas or pool.replicas
            if pods > each * nodes.max_nodes:
                problem = f"{pods} pods are more than the {each * nodes.max_nodes} that fit on max_nodes"
                found.append(Mistake(f"pools[{i}].replicas", problem, f"raise max_nodes of '{nodes.name}'"))
    return found


def _sharing(config: StackConfig) -> Iterator[Mistake]:
    """Reports pods that cannot use the shared GPUs of their nodes.

    Several shares can be of the same GPU, so NVIDIA's device plugin refuses pods that request more than one. A process
    sees only one MIG slice (https://docs.nvidia.com/datacenter/tesla/mig-user-guide/). MPS needs the `/dev/shm` that
    the device plugin mounts, but KubeRay and KServe's pods have a volume there, which hides it
    (https://github.com/ray-project/kuberay/issues/3634).
    """
    pools = {pool.name: pool for pool in config.pools}
    users = [(f"pools[{i}]", "node_pool", pool, pool.gpus) for i, pool in enumerate(config.pools)]
    users += [
        (f"models[{i}]", "pool", pools[model.pool], model.gpus)
        for i, model in enumerate(config.models)
        if isinstance(model, KServeModel) and model.pool in pools
    ]
    for key, setting, pool, gpus in users:
        nodes = node_pool_for(config, pool)
        if nodes is None or not gpus or nodes.sharing.kind == "none":
            continue
        if nodes.sharing.kind == "mps":
            problem = f"'{nodes.name}' shares its GPUs by MPS, but the pods' own /dev/shm hides that of MPS"
            yield Mistake(f"{key}.{setting}", problem, "use another node pool, or time_slicing or mig there")
        elif gpus > 1:
            problem = f"is {gpus}, but a pod can use only one share of a GPU of '{nodes.name}'"
            yield Mistake(f"{key}.gpus", problem, "use 1, or a node pool with sharing kind none")
