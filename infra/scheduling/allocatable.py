"""What a node of a cloud leaves for the stack's pods.

A machine's memory is not what its catalogue says: firmware and kernel take some, the kubelet reserves some for itself,
and pods of the cloud run on every node. Where a document gives a range, the least that is left is taken, so that
what is accepted here does not stay Pending there.
"""

from __future__ import annotations

from infra.gpu.machines import Cloud, MachineType
from infra.scheduling.resources import GIB, MIB, Resources

EVICTION = 100 * MIB
"""Memory that the kubelet keeps free by evicting pods, with the clouds' settings."""

_TIERS = ((1, 0.06), (1, 0.01), (2, 0.005), (10_000, 0.0025))
"""Parts of a node's processors that GKE and EKS reserve: of the first, the second, the next two, all others."""

_AZURE_CPU = ((1, 60), (2, 100), (4, 140), (8, 180), (16, 260), (32, 420), (64, 740))
"""Thousandths of a processor that AKS reserves, by processors; above the last row it grows by 10 for each."""

SYSTEM_PODS: dict[Cloud, Resources] = {
    # kube-proxy 100m; aws-node 50m; ebs-csi-node 30m, 120Mi; eks-pod-identity-agent and node-monitoring-agent: little.
    "aws": Resources(cpu=200, memory=256 * MIB),
    # fluentbit 100m, 200Mi; kube-proxy 100m; metadata server 100m, 100Mi; metrics agent 120Mi; netd and CSI driver.
    "gcp": Resources(cpu=350, memory=512 * MIB),
    # kube-proxy 100m; azure-ip-masq-agent 100m; azure-cns 40m, 250Mi; two CSI drivers and cloud-node-manager.
    "azure": Resources(cpu=370, memory=512 * MIB),
}
"""Requests of the pods that a cloud runs on every node. Read from the clouds' manifests, not from a running cluster."""

FIRMWARE = 0.075
"""Part of a machine's memory that its operating system does not see (Karpenter's VM_MEMORY_OVERHEAD_PERCENT)."""


def _reserved_cpu(vcpus: int) -> int:
    reserved, left = 0.0, vcpus
    for cores, part in _TIERS:
        reserved += min(left, cores) * part
        left -= min(left, cores)
    return round(reserved * 1000)


def _aws(machine: MachineType, disk_gib: int) -> Resources:
    """https://github.com/awslabs/amazon-eks-ami (nodeadm, `kubelet` defaults): 255 MiB, and 11 MiB for each pod."""
    pods = 110 if machine.vcpus <= 30 else 250
    memory = int(machine.memory_gib * GIB * (1 - FIRMWARE)) - (255 + 11 * pods) * MIB - EVICTION
    # 1 GiB is reserved, and at 10 % of the disk the kubelet evicts pods.
    storage = int(disk_gib * GIB * 0.9) - GIB
    return Resources(machine.vcpus * 1000 - _reserved_cpu(machine.vcpus), memory, storage)


def _gcp(machine: MachineType, disk_gib: int) -> Resources:
    """https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes."""
    total, reserved = machine.memory_gib, 0.0
    for size, part in ((4, 0.25), (4, 0.2), (8, 0.1), (112, 0.06), (10_000_000, 0.02)):
        reserved += min(total, size) * part
        total -= min(total, size)
    # The node in that document lacks 2.7 % of the machine's memory: 13,498,416 Ki are left of 16 GiB.
    memory = int((machine.memory_gib * 0.97 - reserved) * GIB) - EVICTION
    # Its file system has 94.25 GiB of a disk of 100 (98,831,908 Ki), of which the kubelet keeps a tenth free.
    storage = int((0.9425 * disk_gib * 0.9 - min(0.5 * disk_gib, 6 + 0.35 * disk_gib, 100)) * GIB)
    return Resources(machine.vcpus * 1000 - _reserved_cpu(machine.vcpus), memory, storage)


def _azure(machine: MachineType, disk_gib: int) -> Resources:
    """https://learn.microsoft.com/azure/aks/node-resource-reservations, with 110 pods on a node."""
    rows = [cpu for cores, cpu in _AZURE_CPU if cores <= machine.vcpus]
    cpu = rows[-1] if machine.vcpus <= 64 else 740 + 10 * (machine.vcpus - 64)
    reserved = min((20 * 110 + 50) * 10**6, int(machine.memory_gib * GIB * 0.25))
    memory = int(machine.memory_gib * GIB * 0.97) - reserved - EVICTION
    # The file system lacks about a twentieth of the disk, and the kubelet keeps a tenth free.
    return Resources(machine.vcpus * 1000 - cpu, memory, int(disk_gib * GIB * 0.95 * 0.9))


_RULES = {"aws": _aws, "gcp": _gcp, "azure": _azure}


def allocatable(cloud: Cloud, machine: MachineType, disk_gib: int, gpus: int) -> Resources:
    """Returns what a node leaves for pods: without what the kubelet reserves and what the cloud's own pods request.

    `gpus` are the `nvidia.com/gpu` that the node advertises: GPUs, shares or slices.
    """
    return _RULES[cloud](machine, disk_gib) - SYSTEM_PODS[cloud] + Resources(gpus=gpus)
