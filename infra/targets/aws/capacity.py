"""What AWS says beforehand: of quotas, of zones that offer a machine type, and of versions of EKS' add-ons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from infra.mistakes import Mistake
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
from infra.targets.aws.settings import ADDONS, Aws, AwsAddon

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

ADDRESSES = ("EC2-VPC Elastic IPs", "L-0263D0A3")
"""https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html"""

USED = "the Elastic IPs that are in use"
VERSIONS = "the versions of EKS' add-ons"
FIX = "request more under Service Quotas (docs/how-to/aws.md#1-what-you-need), or use fewer or smaller machines"
ADDRESS_FIX = (
    "request more under Service Quotas (docs/how-to/aws.md#1-what-you-need), release some, or use an existing network"
)


def check(stack: CloudStack[Aws], run: Run) -> Check:
    """Asks for quotas of vCPUs and addresses, zones that offer the machine types, and versions of EKS' add-ons."""
    region = ("--region", stack.settings.region, "--output", "json")
    known = machines_of("aws", stack.pools)
    known = machines_of("aws", stack.pools)
    quotas = {quota_of(machine.name, pool.capacity) for _, pool, machine in known} - {("", "")}
    if addresses_needed(stack):
        quotas.add(ADDRESSES)
    limit = ("aws", "service-quotas", "get-service-quota", "--service-code", "ec2", "--quota-code")
    questions = {_about(*quota): asking(run, [*limit, quota[1], *region], _value) for quota in sorted(quotas)}
    if addresses_needed(stack):
        listing = ("aws", "ec2", "describe-addresses")
        questions[USED] = asking(run, [*listing, *region], lambda answer: _used(answer, stack.name))
    offerings = ("aws", "ec2", "describe-instance-type-offerings", "--location-type", "availability-zone")
    for name in sorted({machine.name for _, _, machine in known}):
        only = ("--filters", f"Name=instance-type,Values={name}")
        questions[_offers(name)] = asking(run, [*offerings, *only, *region], _zones)
    if stack.settings.mode == "node_groups":
        kubernetes = stack.cluster.kubernetes_version
        command = ("aws", "eks", "describe-addon-versions", "--kubernetes-version", kubernetes)
        questions[VERSIONS] = asking(run, [*command, *region], lambda answer: _addon_versions(answer, kubernetes))
    return Check(questions, lambda answers: _mistakes(stack, answers), _unasked(stack))


def addresses_needed(stack: CloudStack[Aws]) -> int:
    """Returns how many Elastic IPs the stack makes: one of the NAT gateway, and one in each zone of an entrance."""
    if stack.cluster.network.existing:
        return 0
    zones = {*stack.settings.control_plane_zones, *(zone for pool in stack.pools for zone in pool.zones)}
    return 1 + (len(zones) if stack.ingress.zone else 0)


def _mistakes(stack: CloudStack[Aws], answers: Mapping[str, Any]) -> Iterator[Mistake]:
    """Reports quotas of fewer vCPUs than the pools start with, zones without their machine type, and missing pins."""
    yield from _pins(stack, answers.get(VERSIONS, {}))
    name, code = ADDRESSES
    limit, used, addresses = answers.get(_about(name, code)), answers.get(USED, 0), addresses_needed(stack)
    if limit is not None and used + addresses > limit:
        yield too_few_addresses(f"{name} ({code})", limit, addresses, used, ADDRESS_FIX)
    needed: Counter[str] = Counter()
    for i, pool, machine in machines_of("aws", stack.pools):
        name, code = quota_of(machine.name, pool.capacity)
        needed[code] += fewest(pool) * machine.vcpus
        if (limit := answers.get(_about(name, code))) is not None and needed[code] > limit:
            yield too_small(i, f"{name} ({code})", limit, needed[code], "vCPUs", FIX)
        offered = answers.get(_offers(machine.name))
        zones = pool.zones or (() if stack.cluster.network.existing else stack.settings.control_plane_zones)
        missing = [zone for zone in zones if offered is not None and zone not in offered]
        # Without zones of the pool, EKS uses those of the network that have some.
        if missing and (pool.zones or len(missing) == len(zones)):
            yield not_offered(i, machine.name, missing, offered or [], stack.settings.region)


def _unasked(stack: CloudStack[Aws]) -> dict[str, str]:
    """Returns the machine types whose quota is not known; reserved ones need none."""
    found = [(pool.capacity, machine.name) for _, pool, machine in machines_of("aws", stack.pools)]
    lost = {name for capacity, name in found if capacity == "spot" and not quota_of(name, capacity)[1]}
    return {f"the quota of {name} on spot": "AWS has one for each generation" for name in sorted(lost)}


def _about(name: str, code: str) -> str:
    return f"the quota {name} ({code})"


def _offers(machine: str) -> str:
    return f"the zones that offer {machine}"


def _pins(stack: CloudStack[Aws], known: Mapping[AwsAddon, Mapping[str, bool]]) -> Iterator[Mistake]:
    """Reports add-ons of EKS without a version, and versions that EKS does not have for this Kubernetes.

    EKS' default changes with time, so that a cluster created anew would differ from the one before.
    """
    kubernetes, pinned = stack.cluster.kubernetes_version, stack.settings.addon_versions
    for name, version in pinned.items():
        offered = known.get(name, {})
        if offered and version not in offered:
            fix = f"use one of {', '.join([*offered][:5])}"
            yield Mistake(f"aws.addon_versions.{name}", f"EKS has no {version} for Kubernetes {kubernetes}", fix)
    standard = {name: next((v for v, is_default in known[name].items() if is_default), "") for name in sorted(known)}
    if missing := {name: version for name, version in standard.items() if version and name not in pinned}:
        wanted = ", ".join(f"{name}: {version}" for name, version in sorted({**pinned, **missing}.items()))
        fix = f"for EKS' current defaults, set addon_versions: {{{wanted}}}"
        yield Mistake("aws.addon_versions", f"has no version of {', '.join(missing)}", fix)


def _addon_versions(answer: Any, kubernetes: str) -> dict[AwsAddon, dict[str, bool]]:
    """Returns the versions of each add-on for a Kubernetes, as ordered by EKS, with whether each is the default."""
    found: dict[AwsAddon, dict[str, bool]] = {}
    for each in answer["addons"]:
        for offer in each["addonVersions"] if each["addonName"] in ADDONS else ():
            for fits in offer["compatibilities"]:
                if fits["clusterVersion"] == kubernetes:
                    found.setdefault(each["addonName"], {})[offer["addonVersion"]] = fits["defaultVersion"]
    return found


def _used(answer: Any, stack: str) -> int:
    """Returns how many addresses of a region others than the stack use; its own have its tag."""
    own = {"Key": "headrace-stack", "Value": stack}
    return sum(own not in (each.get("Tags") or ()) for each in answer["Addresses"])


def quota_of(machine: str, capacity: str) -> tuple[str, str]:
    """Returns name and code of a machine type's quota; empty if it is not known or not used."""
    for pattern, name, code, spot_name, spot_code in QUOTAS:
        if re.match(pattern, machine):
            return {"on_demand": (name, code), "spot": (spot_name, spot_code)}.get(capacity, ("", ""))
    return "", ""


def _value(answer: Any) -> float:
    return float(answer["Quota"]["Value"])


def _zones(answer: Any) -> list[str]:
    return sorted(offer["Location"] for offer in answer["InstanceTypeOfferings"])
