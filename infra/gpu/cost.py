"""The table that a preview prints: hourly cost of the stack's nodes, and whether its models fit them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from infra.gpu import fit, placement
from infra.layout import CHECKOUT
from infra.mistakes import Mistake
from infra.nodes import prices
from infra.nodes.accelerators import GIB, accelerator_by_key
from infra.nodes.machines import Cloud, MachineType
from infra.nodes.pools import NodePool
from serving.config import VllmModel

if TYPE_CHECKING:
    from infra.config import StackConfig

NOT_COUNTED = "Not included: the control plane, disks, addresses, load balancers, NAT, traffic and the bucket."


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports a price table that cannot be read."""
    if not config.cluster.prices:
        return []
    try:
        _prices(config, None)
    except (OSError, ValueError) as e:
        return [Mistake("cluster.prices", str(e), "correct the file; infra/targets/aws/prices.yaml shows the format")]
    return []


def _prices(config: StackConfig, cloud: Cloud | None) -> prices.PriceTable:
    """Returns the table of the operator, or else that of the stack's cloud."""
    if cloud is None or config.cluster.prices:
        return prices.load(CHECKOUT / config.cluster.prices)
    return prices.listed(cloud)


def table(config: StackConfig) -> str:
    """Returns a table of pools with GPUs, memory and price, then each model's arithmetic. On-premises has no prices."""
    cloud = placement.NODE_POOL_RULES[config.target].cloud
    if cloud is None:
        return "\n".join(_models(config))
    known = _prices(config, cloud)
    head = ("node pool", "machine type", "nodes", "capacity", "GPUs per node", "memory", f"{known.currency} per hour")
    rows: list[tuple[str, ...]] = [head]
    low = high = 0.0
    unknown = []
    for pool in _all_pools(config):
        machine = pool.machine(cloud)
        each = known.hourly(cloud, machine.name, pool.capacity) if machine else None
        if each is None:
            unknown.append(pool.name)
        low, high = low + pool.min_nodes * (each or 0), high + pool.max_nodes * (each or 0)
        rows.append(_row(pool, machine, each))
    monthly = _format_range(low * prices.HOURS, high * prices.HOURS)
    total = f"Total: {_format_range(low, high)} {known.currency} per hour, {monthly} per month"
    without = f", without {', '.join(unknown)}, whose price is unknown" if unknown else ""
    lines = [
        *_align(rows),
        f"{total}{without} ({known.provenance(cloud)}). {NOT_COUNTED}",
        *_budget(config, known),
        *_models(config),
    ]
    return "\n".join(lines)


def over_budget(config: StackConfig) -> list[Mistake]:
    """Reports a budget that the nodes exceed if every pool is at `max_nodes`, or that cannot be held."""
    key, limit, rules = "cost.max_per_month", config.cost.max_per_month, placement.NODE_POOL_RULES.get(config.target)
    cloud = rules.cloud if rules is not None else None  # without one, the setting itself is the mistake
    if limit is None or cloud is None or mistakes(config):
        return []
    if config.target == "gcp" and config.gcp.autopilot:
        problem = "cannot be enforced, because in Autopilot Google creates the nodes that pods request"
        return [Mistake(key, problem, "remove it, or set gcp.autopilot to false")]
    known = _prices(config, cloud)
    pools = _all_pools(config)
    unknown = [pool.name for pool in pools if _at_most(known, cloud, pool) is None]
    if unknown:
        problem = f"cannot be enforced, because the price of {', '.join(unknown)} is unknown"
        return [Mistake(key, problem, "add it to a price file of yours, and name that in headrace:cluster.prices")]
    total = _most_per_month(config, known)
    if total <= limit:
        return []
    parts = [f"{p.name} {(_at_most(known, cloud, p) or 0) * p.max_nodes * prices.HOURS:,.2f}" for p in pools]
    problem = f"is {limit:,.2f} {known.currency}, but the nodes cost up to {total:,.2f} per month: {', '.join(parts)}"
    fix = "lower max_nodes, use smaller machines, or spot capacity if it has a price, or raise it"
    return [Mistake(key, problem, fix)]


def _budget(config: StackConfig, known: prices.PriceTable) -> Iterator[str]:
    if (limit := config.cost.max_per_month) is not None:
        yield f"Budget: up to {_most_per_month(config, known):,.2f} of {limit:,.2f} {known.currency} per month."


def _most_per_month(config: StackConfig, known: prices.PriceTable) -> float:
    cloud = placement.NODE_POOL_RULES[config.target].cloud
    each = [(pool, _at_most(known, cloud, pool)) for pool in _all_pools(config)]
    return sum(pool.max_nodes * (price or 0) * prices.HOURS for pool, price in each)


def _at_most(known: prices.PriceTable, cloud: Cloud | None, pool: NodePool) -> float | None:
    machine = pool.machine(cloud) if cloud else None
    return known.at_most(cloud, machine.name, pool.capacity) if cloud and machine else None


def _all_pools(config: StackConfig) -> tuple[NodePool, ...]:
    return (*placement.NODE_POOL_RULES[config.target].system_pools, *config.node_pools)


def hourly(config: StackConfig, nodes: Mapping[str, int]) -> str:
    """Returns the price of a number of nodes of each pool, as text."""
    cloud = placement.NODE_POOL_RULES[config.target].cloud
    known = _prices(config, cloud)
    total = 0.0
    for pool in config.node_pools:
        if number := nodes.get(pool.name, 0):
            machine = pool.machine(cloud) if cloud else None
            each = known.hourly(cloud, machine.name, pool.capacity) if cloud and machine else None
            if each is None:
                return "whose price is unknown"
            total += number * each
    return f"{total:,.2f} {known.currency} per hour"


def _row(pool: NodePool, machine: MachineType | None, each: float | None) -> tuple[str, ...]:
    gpu = accelerator_by_key(pool.accelerator)
    share = "" if pool.sharing.kind == "none" else f", {placement.gpus_per_node(pool)} {pool.sharing.kind}"
    return (
        pool.name,
        machine.name if machine else pool.machine_type,
        _node_count(pool.min_nodes, pool.max_nodes),
        pool.capacity.replace("_", " "),
        f"{pool.gpus} x {pool.accelerator}{share}" if pool.gpus else "-",
        f"{gpu.memory_bytes / GIB:.1f} GiB" if gpu else "-",
        "?" if each is None else _format_range(pool.min_nodes * each, pool.max_nodes * each),
    )


def _models(config: StackConfig) -> Iterator[str]:
    pools = {pool.name: pool for pool in config.pools}
    for model in config.models:
        if not isinstance(model, VllmModel) or model.pool not in pools:
            continue
        nodes = pools[model.pool].node_pool or "no node pool"
        found = fit.model_fit(config, model)
        yield f"Model {model.name} on {nodes}:"
        yield from (f"  {line}" for line in (found.lines if found else ("not checked: geometry or GPU is unknown",)))


def _node_count(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _format_range(low: float, high: float) -> str:
    one, other = f"{low:,.2f}", f"{high:,.2f}"
    return one if one == other else f"{one}-{other}"


def _align(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
