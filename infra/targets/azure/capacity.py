"""What Azure says beforehand of quotas and zones: the usage of compute, and the sizes that a subscription may have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from infra.mistakes import Mistake
from infra.nodes.pools import NodePool
from infra.resources.capacity import (
    Run,
    asking,
    fewest,
    machines_of,
    not_offered,
    too_few_addresses,
    too_small,
)
from infra.resources.cloud_stack import CloudStack
from infra.resources.inquiry import Check
from infra.resources.provisioned_cluster import resource_slug
from infra.targets.azure import limits
from infra.targets.azure.settings import Azure

REGIONAL, SPOT = "cores", "lowprioritycores"
USAGE, SIZES = "the quotas of vCPUs", "the sizes of machines and their zones"
ADDRESSES, OWN = "the quotas of public addresses", "the addresses that the stack has already"
COUNTED = "AKS' own nodes, those that an upgrade adds and "
FIX = "request more under Quotas (docs/how-to/azure.md#what-you-need), or use fewer or smaller machines"
ADDRESS_FIX = "request more under Quotas (docs/how-to/azure.md#what-you-need), release some, or use an existing network"


def check(stack: CloudStack[Azure], run: Run) -> Check:
    """Asks for the usage of compute and of addresses, and for the sizes that the subscription may have."""
    subscription = ("--subscription", stack.settings.subscription, "--output", "json")
    place = ("--location", stack.settings.location, *subscription)
    questions = {
        USAGE: asking(run, ["az", "vm", "list-usage", *place], _limits),
        SIZES: asking(run, ["az", "vm", "list-skus", "--resource-type", "virtualMachines", *place], _sizes),
    }
    if addresses_needed(stack):
        questions[ADDRESSES] = asking(run, ["az", "network", "list-usages", *place], _address_quotas)
        listing = ["az", "network", "public-ip", "list", *subscription]
        questions[OWN] = asking(run, listing, lambda answer: _own(answer, stack.settings.location, stack.name))
    return Check(questions, lambda answers: _mistakes(stack, answers))


def addresses_needed(stack: CloudStack[Azure]) -> int:
    """Returns how many public addresses the stack makes: one of the NAT gateway, and one of an entrance."""
    return (not stack.cluster.network.existing) + bool(stack.ingress.zone)


def _mistakes(stack: CloudStack[Azure], answers: Mapping[str, Any]) -> Iterator[Mistake]:
    """Reports quotas of fewer vCPUs than the pools start with, an upgrade's nodes included, and missing zones.

    AKS' own nodes count in the quotas of their family and of the region.
    """
    allowed, names = answers.get(USAGE, ({}, {}))
    sizes = answers.get(SIZES)
    addresses = addresses_needed(stack)
    for quota, (limit, used) in answers.get(ADDRESSES, {}).items():
        # Without the list of addresses, the stack's own ones may be among those in use.
        others = max(used - answers[OWN], 0) if OWN in answers else 0
        if others + addresses > limit:
            yield too_few_addresses(quota, limit, addresses, others, ADDRESS_FIX)
    needed: Counter[str] = Counter()
    for pool in limits.SYSTEM_POOLS:
        if machine := pool.machine("azure"):
            needed.update(dict.fromkeys(_quotas(pool, sizes, machine.name), _nodes(pool) * machine.vcpus))
    for i, pool, machine in machines_of("azure", stack.pools):
        for quota in _quotas(pool, sizes, machine.name):
            needed[quota] += _nodes(pool) * machine.vcpus
            if quota in allowed and needed[quota] > allowed[quota]:
                yield too_small(i, names[quota], allowed[quota], needed[quota], "vCPUs", FIX, COUNTED)
        if sizes is None:
            continue
        size = sizes.get(machine.name.lower(), {})
        offered = sorted({zone for where in size.get("locationInfo", ()) for zone in where.get("zones") or ()})
        restricted = {zone for each in size.get("restrictions", ()) for zone in _restricted(each, offered)}
        usable = [zone for zone in offered if zone not in restricted]
        missing = [zone for zone in pool.zones if zone not in usable]
        if missing or not size or (offered and not usable):
            yield not_offered(i, machine.name, missing, usable, stack.settings.location)


def _nodes(pool: NodePool) -> int:
    """Returns how many nodes of a pool must be possible at once: the fewest that it has, during an upgrade."""
    return fewest(pool) + limits.surge_nodes(pool, fewest(pool))


def _quotas(pool: NodePool, sizes: Mapping[str, Any] | None, machine: str) -> list[str]:
    """Returns the keys of the quotas that a pool's nodes count in; without an answer, their family is not known."""
    if pool.capacity == "spot":
        return [SPOT]
    size = (sizes or {}).get(machine.lower())
    return [_key(size["family"]), REGIONAL] if size else [REGIONAL]


def _limits(answer: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Returns limits and shown names by the key of a quota."""
    allowed = {_key(each["name"]["value"]): float(each["limit"]) for each in answer}
    return allowed, {_key(each["name"]["value"]): each["name"]["localizedValue"] for each in answer}


def _address_quotas(answer: Any) -> dict[str, tuple[float, int]] | None:
    """Returns limit and usage of the quotas that public addresses count in, by their shown names; None without any."""
    counted = {
        each["name"]["localizedValue"]: (float(each["limit"]), int(each["currentValue"]))
        for each in answer
        if re.fullmatch(r"(ipv4standardsku|standardsku|static)?publicipaddresses", _key(each["name"]["value"]))
    }
    return counted or None


def _own(answer: Any, location: str, stack: str) -> int:
    """Returns how many of the subscription's addresses are the stack's."""
    own = {f"headrace-{resource_slug(stack, 40)}-{part}" for part in ("nat", "entrance")}
    return sum(each["name"] in own and each["location"] == location for each in answer)


def _key(name: str) -> str:
    """Returns a family's name as both answers have it: one writes some with spaces, underscores and capitals."""
    return re.sub(r"[\s_]", "", name).lower()


def _sizes(answer: Any) -> dict[str, dict[str, Any]]:
    """Returns the sizes of the location by their names in small letters."""
    return {each["name"].lower(): each for each in answer}


def _restricted(restriction: dict[str, Any], offered: list[str]) -> list[str]:
    if restriction.get("type") == "Zone":
        return list((restriction.get("restrictionInfo") or {}).get("zones") or ())
    return offered
