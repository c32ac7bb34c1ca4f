"""The resources that a node's kubelet reserves, as far as clouds have them in common.

A machine's usable memory is less than the catalogue's: firmware and kernel take some, the kubelet reserves some, and
the cloud runs pods on every node. `allocatable` in each cloud's module `limits` returns what remains. If a
document gives a range, its lower end is used, so that a plan that is accepted here has no Pending pods.
"""

from __future__ import annotations

from infra.nodes.resources import MIB

EVICTION = 100 * MIB
"""Memory that the kubelet keeps free by evicting pods, with the clouds' settings."""

_TIERS = ((1, 0.06), (1, 0.01), (2, 0.005), (10_000, 0.0025))
"""Shares of a node's CPUs that GKE and EKS reserve: of the first, the second, the next two, all others."""


def reserved_cpu(vcpus: int) -> int:
    """Returns the thousandths of a processor that GKE and EKS reserve."""
    reserved, left = 0.0, vcpus
    for cores, part in _TIERS:
        reserved += min(left, cores) * part
        left -= min(left, cores)
    return round(reserved * 1000)
