"""What a node's kubelet keeps for itself, where clouds have it in common.

A machine's memory is not what its catalogue says: firmware and kernel take some, the kubelet reserves some for itself,
and pods of the cloud run on every node. What is left, `allocatable` in each cloud's module of `infra.gpu` says. Where a
document gives a range, the least that is left is taken, so that what is accepted here does not stay Pending there.
"""

from __future__ import annotations

from infra.scheduling.resources import MIB

EVICTION = 100 * MIB
"""Memory that the kubelet keeps free by evicting pods, with the clouds' settings."""

_TIERS = ((1, 0.06), (1, 0.01), (2, 0.005), (10_000, 0.0025))
"""Parts of a node's processors that GKE and EKS reserve: of the first, the second, the next two, all others."""


def reserved_cpu(vcpus: int) -> int:
    """Returns the thousandths of a processor that GKE and EKS reserve."""
    reserved, left = 0.0, vcpus
    for cores, part in _TIERS:
        reserved += min(left, cores) * part
        left -= min(left, cores)
    return round(reserved * 1000)
