"""What Azure says beforehand of quotas and zones: the usage of compute, and the sizes that a subscription may have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from infra.config import StackConfig
from infra.gpu import azure
from infra.gpu.machines import DEFAULT_MACHINE_TYPES, machine_type
from infra.mistakes import Mistake
from infra.targets.capacity_check import Ask, fewest, machines_of, not_offered, too_small

REGIONAL, SPOT = "cores", "lowprioritycores"
FIX = "request more under Quotas (docs/how-to/azure.md#what-you-need), or use fewer or smaller machines"


def mistakes(config: StackConfig, ask: Ask) -> Iterator[Mistake]:
    """Reports quotas of fewer vCPUs than the pools start with, an upgrade's nodes included, and missing zones."""
    place = ("--location", config.azure.location, "--subscription", config.azure.subscription, "--output", "json")
    limits, names = _limits(ask(["az", "vm", "list-usage", *place]))
    system = machine_type("azure", DEFAULT_MACHINE_TYPES["azure"])
    needed: Counter[str] = Counter({REGIONAL: (azure.SYSTEM_NODES + 1) * (system.vcpus if system else 0)})
    sizes: dict[str, dict[str, Any] | None] = {}
    for i, pool, machine in machines_of(config):
        if machine.name not in sizes:
            found = ask(["az", "vm", "list-skus", "--size", machine.name, "--resource-type", "virtualMachines", *place])
            sizes[machine.name] = _size(found, machine.name)
        size = sizes[machine.name]
        family = _key(size["family"]) if size else ""
        for quota in (SPOT,) if pool.capacity == "spot" else (family, REGIONAL):
            needed[quota] += (fewest(pool) + azure.surge_nodes(pool)) * machine.vcpus
            if quota in limits and needed[quota] > limits[quota]:
                yield too_small(i, names[quota], limits[quota], needed[quota], "vCPUs", FIX)
        if size is None:
            continue
        offered = sorted({zone for where in size.get("locationInfo", ()) for zone in where.get("zones") or ()})
        restricted = {zone for each in size.get("restrictions", ()) for zone in _restricted(each, offered)}
        usable = [zone for zone in offered if zone not in restricted]
        missing = [zone for zone in pool.zones if zone not in usable]
        if missing or not size["name"] or (offered and not usable):
            yield not_offered(i, machine.name, missing, usable, config.azure.location)


def _limits(answer: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Returns limits and shown names by the key of a quota."""
    given = answer if isinstance(answer, list) else []
    limits = {_key(each["name"]["value"]): float(each["limit"]) for each in given}
    return limits, {_key(each["name"]["value"]): each["name"]["localizedValue"] for each in given}


def _key(name: str) -> str:
    """Returns a family's name as both answers have it: one writes some with spaces, underscores and capitals."""
    return re.sub(r"[\s_]", "", name).lower()


def _size(answer: Any, name: str) -> dict[str, Any] | None:
    """Returns a size with its family, zones and restrictions; without a name if the location has none."""
    if not isinstance(answer, list):
        return None
    nothing = {"name": "", "family": ""}
    return next((each for each in answer if each["name"].lower() == name.lower()), nothing)


def _restricted(restriction: dict[str, Any], offered: list[str]) -> list[str]:
    if restriction.get("type") == "Zone":
        return list((restriction.get("restrictionInfo") or {}).get("zones") or ())
    return offered
