"""What Azure says beforehand of quotas and zones: the usage of compute, and the sizes that a subscription may have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from infra.config import StackConfig
from infra.gpu import azure
from infra.gpu.pools import NodePool
from infra.mistakes import Mistake
from infra.targets.capacity_check import Ask, fewest, machines_of, not_offered, too_small

REGIONAL, SPOT = "cores", "lowprioritycores"
COUNTED = "AKS' own nodes, those that an upgrade adds and "
FIX = "request more under Quotas (docs/how-to/azure.md#what-you-need), or use fewer or smaller machines"


def mistakes(config: StackConfig, ask: Ask) -> Iterator[Mistake]:
    """Reports quotas of fewer vCPUs than the pools start with, an upgrade's nodes included, and missing zones.

    AKS' own nodes count in the quotas of their family and of the region.
    """
    place = ("--location", config.azure.location, "--subscription", config.azure.subscription, "--output", "json")
    limits, names = _limits(ask(["az", "vm", "list-usage", *place]))
    sizes = _sizes(ask(["az", "vm", "list-skus", "--resource-type", "virtualMachines", *place]))
    needed: Counter[str] = Counter()
    for pool in azure.SYSTEM_POOLS:
        if machine := pool.machine("azure"):
            needed.update(dict.fromkeys(_quotas(pool, sizes, machine.name), _nodes(pool) * machine.vcpus))
    for i, pool, machine in machines_of(config):
        for quota in _quotas(pool, sizes, machine.name):
            needed[quota] += _nodes(pool) * machine.vcpus
            if quota in limits and needed[quota] > limits[quota]:
                yield too_small(i, names[quota], limits[quota], needed[quota], "vCPUs", FIX, COUNTED)
        if sizes is None:
            continue
        size = sizes.get(machine.name.lower(), {})
        offered = sorted({zone for where in size.get("locationInfo", ()) for zone in where.get("zones") or ()})
        restricted = {zone for each in size.get("restrictions", ()) for zone in _restricted(each, offered)}
        usable = [zone for zone in offered if zone not in restricted]
        missing = [zone for zone in pool.zones if zone not in usable]
        if missing or not size or (offered and not usable):
            yield not_offered(i, machine.name, missing, usable, config.azure.location)


def _nodes(pool: NodePool) -> int:
    """Returns how many nodes of a pool must be possible at once: the fewest that it has, during an upgrade."""
    return fewest(pool) + azure.surge_nodes(pool, fewest(pool))


def _quotas(pool: NodePool, sizes: Mapping[str, Any] | None, machine: str) -> list[str]:
    """Returns the keys of the quotas that a pool's nodes count in; without an answer, their family is not known."""
    if pool.capacity == "spot":
        return [SPOT]
    size = (sizes or {}).get(machine.lower())
    return [_key(size["family"]), REGIONAL] if size else [REGIONAL]


def _limits(answer: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Returns limits and shown names by the key of a quota."""
    given = answer if isinstance(answer, list) else []
    limits = {_key(each["name"]["value"]): float(each["limit"]) for each in given}
    return limits, {_key(each["name"]["value"]): each["name"]["localizedValue"] for each in given}


def _key(name: str) -> str:
    """Returns a family's name as both answers have it: one writes some with spaces, underscores and capitals."""
    return re.sub(r"[\s_]", "", name).lower()


def _sizes(answer: Any) -> dict[str, dict[str, Any]] | None:
    """Returns the sizes of the location by their names in small letters; None if it could not be asked."""
    return {each["name"].lower(): each for each in answer} if isinstance(answer, list) else None


def _restricted(restriction: dict[str, Any], offered: list[str]) -> list[str]:
    if restriction.get("type") == "Zone":
        return list((restriction.get("restrictionInfo") or {}).get("zones") or ())
    return offered
