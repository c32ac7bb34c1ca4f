"""What AWS says beforehand: of quotas, of zones that offer a machine type, and of versions of EKS' add-ons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from infra.cloud_config import ADDONS
from infra.config import StackConfig
from infra.mistakes import Mistake
from infra.targets.capacity_check import Ask, fewest, machines_of, not_offered, too_small

QUOTAS = (
    (
        r"(gr?|vt)\d",
        "Running On-Demand G and VT instances",
        "L-DB2E81BA",
        "All G and VT Spot Instance Requests",
        "L-3819A6DF",
    ),
    (r"p\d", "Running On-Demand P instances", "L-417A185B", "", ""),
    (
        r"[acdhimrtz]\d",
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        "L-1216C47A",
        "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
        "L-34B43A08",
    ),
)
"""Beginnings of machine types with their quotas in vCPUs, on demand and spot; those of P spot differ by generation.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html
"""

FIX = "request more under Service Quotas (docs/how-to/aws.md#1-what-you-need), or use fewer or smaller machines"


def mistakes(config: StackConfig, ask: Ask) -> Iterator[Mistake]:
    """Reports quotas of fewer vCPUs than the pools start with, zones without their machine type, and missing pins."""
    if config.aws.mode == "node_groups":
        yield from _pins(config, ask)
    region = ("--region", config.aws.region, "--output", "json")
    needed: Counter[str] = Counter()
    limits: dict[str, float | None] = {}
    offers: dict[str, list[str] | None] = {}
    for i, pool, machine in machines_of(config):
        name, code = quota_of(machine.name, pool.capacity)
        if code:
            needed[code] += fewest(pool) * machine.vcpus
            if code not in limits:
                asked = ("aws", "service-quotas", "get-service-quota", "--service-code", "ec2", "--quota-code", code)
                limits[code] = _value(ask([*asked, *region]))
            if (limit := limits[code]) is not None and needed[code] > limit:
                yield too_small(i, f"{name} ({code})", limit, needed[code], "vCPUs", FIX)
        if machine.name not in offers:
            listing = ("aws", "ec2", "describe-instance-type-offerings", "--location-type", "availability-zone")
            offers[machine.name] = _zones(
                ask([*listing, "--filters", f"Name=instance-type,Values={machine.name}", *region])
            )
        offered = offers[machine.name]
        zones = pool.zones or (() if config.cluster.network.existing else config.aws.control_plane_zones)
        missing = [zone for zone in zones if offered is not None and zone not in offered]
        # Without zones of the pool, EKS uses those of the network that have some.
        if missing and (pool.zones or len(missing) == len(zones)):
            yield not_offered(i, machine.name, missing, offered or [], config.aws.region)


def _pins(config: StackConfig, ask: Ask) -> Iterator[Mistake]:
    """Reports add-ons of EKS without a version, and versions that EKS does not have for this Kubernetes.

    EKS' default changes with time, so that a cluster created anew would differ from the one before.
    """
    kubernetes, pinned = config.cluster.kubernetes_version, config.aws.addon_versions
    names = ", ".join(f'"{name}"' for name in ADDONS)
    version = (
        f"{{version: addonVersion, standard: compatibilities[?clusterVersion=='{kubernetes}']|[0].defaultVersion}}"
    )
    query = f"addons[?contains(`[{names}]`, addonName)].{{name: addonName, versions: addonVersions[].{version}}}"
    command = ("aws", "eks", "describe-addon-versions", "--kubernetes-version", kubernetes, "--query", query)
    answer = ask([*command, "--region", config.aws.region, "--output", "json"])
    known = {each["name"]: each["versions"] for each in answer} if isinstance(answer, list) else {}
    for name, version in pinned.items():
        offered = [each["version"] for each in known.get(name, ())]
        if offered and version not in offered:
            fix = f"use one of {', '.join(offered[:5])}"
            yield Mistake(f"aws.addon_versions.{name}", f"EKS has no {version} for Kubernetes {kubernetes}", fix)
    standard = {name: next((e["version"] for e in each if e["standard"]), "") for name, each in sorted(known.items())}
    if missing := {name: version for name, version in standard.items() if version and name not in pinned}:
        wanted = ", ".join(f"{name}: {version}" for name, version in sorted({**pinned, **missing}.items()))
        fix = f"for EKS' defaults of today, set addon_versions: {{{wanted}}}"
        yield Mistake("aws.addon_versions", f"has no version of {', '.join(missing)}", fix)


def quota_of(machine: str, capacity: str) -> tuple[str, str]:
    """Returns name and code of a machine type's quota; empty if it is not known or not used."""
    for pattern, name, code, spot_name, spot_code in QUOTAS:
        if re.match(pattern, machine):
            return {"on_demand": (name, code), "spot": (spot_name, spot_code)}.get(capacity, ("", ""))
    return "", ""


def _value(answer: object) -> float | None:
    match answer:
        case {"Quota": {"Value": int() | float() as value}}:
            return float(value)
    return None


def _zones(answer: object) -> list[str] | None:
    match answer:
        case {"InstanceTypeOfferings": list() as offers}:
            return sorted(offer["Location"] for offer in offers)
    return None
