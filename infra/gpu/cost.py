"""What a stack's nodes cost by the hour and whether its models fit them, as a table, before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from infra.gpu import fit, placement, prices
from infra.gpu.accelerators import GIB, named
from infra.gpu.machines import Machine
from infra.gpu.pools import NodePool
from infra.mistakes import Mistake
from serving.config import VllmModel

if TYPE_CHECKING:
    from infra.config import StackConfig

HOURS = 730
"""Of a month."""

NOT_COUNTED = "Not counted: the control plane, disks, addresses, load balancers, NAT, traffic and the bucket."


def mistakes(config: StackConfig) -> list[Mistake]:
    """A table of prices that cannot be read."""
    if not config.cluster.prices:
        return []
    try:
        _prices(config)
    except (OSError, ValueError) as e:
        return [Mistake("cluster.prices", str(e), "correct the file; infra/gpu/prices.yaml shows its form")]
    return []


def _prices(config: StackConfig) -> prices.Prices:
    from infra.targets.layout import CHECKOUT  # its package loads Pulumi, which reading a configuration can do without

    return prices.load(CHECKOUT / config.cluster.prices if config.cluster.prices else None)


def table(config: StackConfig) -> str:
    """Pools, GPUs, memory and price; then each model with its arithmetic. Machines of your own have no price."""
    cloud = placement.MAKERS[config.target].cloud
    if cloud is None:
        return "\n".join(_models(config))
    known = _prices(config)
    head = ("node pool", "machine type", "nodes", "capacity", "GPUs of a node", "memory", f"{known.currency} an hour")
    rows: list[tuple[str, ...]] = [head]
    low = high = 0.0
    unknown = []
    for pool in config.node_pools:
        machine = pool.machine(cloud)
        each = known.hourly(cloud, machine.name, pool.capacity) if machine else None
        if each is None:
            unknown.append(pool.name)
        low, high = low + pool.min_nodes * (each or 0), high + pool.max_nodes * (each or 0)
        rows.append(_row(pool, machine, each))
    total = f"In all {_money(low, high)} {known.currency} an hour, {_money(low * HOURS, high * HOURS)} a month"
    without = f", without {', '.join(unknown)}, whose price is not known" if unknown else ""
    lines = [
        *_aligned(rows),
        f"{total}{without} ({known.said(cloud)}). {NOT_COUNTED}",
        *_models(config),
    ]
    return "\n".join(lines)


def _row(pool: NodePool, machine: Machine | None, each: float | None) -> tuple[str, ...]:
    gpu = named(pool.accelerator)
    share = "" if pool.sharing.kind == "none" else f", {placement.units(pool)} {pool.sharing.kind}"
    return (
        pool.name,
        machine.name if machine else pool.machine_type,
        _range(pool.min_nodes, pool.max_nodes),
        pool.capacity.replace("_", " "),
        f"{pool.gpus} x {pool.accelerator}{share}" if pool.gpus else "-",
        f"{gpu.memory_bytes / GIB:.1f} GiB" if gpu else "-",
        "?" if each is None else _money(pool.min_nodes * each, pool.max_nodes * each),
    )


def _models(config: StackConfig) -> Iterator[str]:
    pools = {pool.name: pool for pool in config.pools}
    for model in config.models:
        if not isinstance(model, VllmModel) or model.pool not in pools:
            continue
        nodes = pools[model.pool].node_pool or "no node pool"
        found = fit.of(config, model)
        yield f"Model {model.name} on {nodes}:"
        yield from (
            f"  {line}" for line in (found.lines if found else ("not counted: needs geometry and a known GPU",))
        )


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _money(low: float, high: float) -> str:
    one, other = f"{low:,.2f}", f"{high:,.2f}"
    return one if one == other else f"{one}-{other}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
