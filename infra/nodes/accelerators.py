"""The catalogue of accelerators: memory, product names and MIG profiles.

Sources. Memory: as printed by `nvidia-smi`, listed in
https://github.com/ai-dynamo/aiconfigurator/tree/main/aic-core/src/aiconfigurator_core/systems and
https://karpenter.sh/docs/reference/instance-types/. Slices:
https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html and, for GB200, B300, GB300 and
H20, https://github.com/NVIDIA/mig-parted/blob/main/deployments/systemd/config-default.yaml. Memory of slices: the
smallest that `nvidia-smi mig -lgip` or GPU feature discovery was seen to report, for A100 in
https://github.com/NVIDIA/go-nvml/blob/v0.13.4-1/pkg/nvml/mock/gpus/a100.go, for H100-NVL in
https://github.com/NVIDIA/gpu-operator/pull/903, for H200, B200 and GB200 in
https://github.com/NVIDIA/mig-parted/issues/120, /pull/187 and /issues/227. GKE's names:
https://cloud.google.com/kubernetes-engine/docs/concepts/gpus and `gcloud compute accelerator-types list`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True)
class Slice:
    """One MIG profile of a GPU."""

    profile: str
    count: int
    """Number of such slices per GPU."""
    memory_mib: int = 0
    """Memory that the driver reports, less than the profile's name says; 0: unknown."""


@dataclass(frozen=True)
class Accelerator:
    """One kind of GPU."""

    key: str
    """Its name in a configuration."""
    product: str
    """Value of the node label `nvidia.com/gpu.product`, set by NVIDIA's GPU feature discovery."""
    memory_bytes: int
    """Memory that the driver reports (`nvidia-smi --query-gpu=memory.total`) with ECC on."""
    capability: tuple[int, int]
    """Compute capability: https://developer.nvidia.com/cuda-gpus."""
    gke: str = ""
    """GKE's name; empty if GKE does not offer it."""
    mig: tuple[Slice, ...] = ()
    """MIG profiles; empty: MIG is not supported."""


_SLICES_A100_40GB = (
    Slice("1g.5gb", 7, 4_864),
    Slice("1g.10gb", 4, 9_856),
    Slice("2g.10gb", 3, 9_856),
    Slice("3g.20gb", 2, 19_968),
    Slice("4g.20gb", 1, 19_968),
    Slice("7g.40gb", 1, 40_192),
)
_SLICES_A100_80GB = (
    Slice("1g.10gb", 7, 9_728),
    Slice("1g.20gb", 4, 19_968),
    Slice("2g.20gb", 3, 19_968),
    Slice("3g.40gb", 2, 40_192),
    Slice("4g.40gb", 1, 40_192),
    Slice("7g.80gb", 1, 80_384),
)
_SLICES_H100_80GB = (
    Slice("1g.10gb", 7, 9_984),
    Slice("1g.20gb", 4, 20_096),
    Slice("2g.20gb", 3, 20_096),
    Slice("3g.40gb", 2, 40_448),
    Slice("4g.40gb", 1, 40_448),
    Slice("7g.80gb", 1, 81_152),
)
_SLICES_H100_94GB = (
    Slice("1g.12gb", 7, 11_008),
    Slice("1g.24gb", 4, 22_144),
    Slice("2g.24gb", 3, 22_144),
    Slice("3g.47gb", 2, 47_488),
    Slice("4g.47gb", 1, 47_488),
    Slice("7g.94gb", 1),
)
_SLICES_96GB = (
    Slice("1g.12gb", 7, 11_264),
    Slice("1g.24gb", 4, 23_552),
    Slice("2g.24gb", 3, 23_552),
    Slice("3g.48gb", 2),
    Slice("4g.48gb", 1),
    Slice("7g.96gb", 1),
)
_SLICES_H200 = (
    Slice("1g.18gb", 7, 16_384),
    Slice("1g.35gb", 4, 33_024),
    Slice("2g.35gb", 3, 33_024),
    Slice("3g.71gb", 2, 71_168),
    Slice("4g.71gb", 1, 71_168),
    Slice("7g.141gb", 1, 143_104),
)
_SLICES_B200 = (
    Slice("1g.23gb", 7, 20_992),
    Slice("1g.45gb", 4, 45_312),
    Slice("2g.45gb", 3, 45_312),
    Slice("3g.90gb", 2),
    Slice("4g.90gb", 1),
    Slice("7g.180gb", 1),
)
_SLICES_GB200 = (
    Slice("1g.23gb", 7, 22_528),
    Slice("1g.47gb", 4, 46_592),
    Slice("2g.47gb", 3, 46_592),
    Slice("3g.93gb", 2),
    Slice("4g.93gb", 1),
    Slice("7g.186gb", 1),
)
_SLICES_B300 = (
    Slice("1g.34gb", 7),
    Slice("1g.67gb", 4),
    Slice("2g.67gb", 3),
    Slice("3g.135gb", 2),
    Slice("4g.135gb", 1),
    Slice("7g.269gb", 1),
)
_SLICES_GB300 = (
    Slice("1g.35gb", 7),
    Slice("1g.70gb", 4),
    Slice("2g.70gb", 3),
    Slice("3g.139gb", 2),
    Slice("4g.139gb", 1),
    Slice("7g.278gb", 1),
)
_SLICES_RTX = (
    Slice("1g.24gb", 4, 23_680),
    Slice("2g.48gb", 2, 48_512),
    Slice("4g.96gb", 1, 97_280),
)

_H100_SXM = "NVIDIA-H100-80GB-HBM3"
_RTX_PRO_6000 = "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"

ACCELERATORS: tuple[Accelerator, ...] = (
    Accelerator("gb300", "NVIDIA-GB300", 284_208 * MIB, (10, 3), mig=_SLICES_GB300),
    Accelerator("b300", "NVIDIA-B300-SXM6-AC", 275_040 * MIB, (10, 3), mig=_SLICES_B300),
    # GKE's machines with it have Arm CPUs, which the stack's images do not support, so GKE's name is omitted.
    Accelerator("gb200", "NVIDIA-GB200", 189_471 * MIB, (10, 0), mig=_SLICES_GB200),
    Accelerator("b200", "NVIDIA-B200", 183_359 * MIB, (10, 0), "nvidia-b200", _SLICES_B200),
    Accelerator("h200", "NVIDIA-H200", 143_771 * MIB, (9, 0), "nvidia-h200-141gb", _SLICES_H200),
    Accelerator("gh200", "NVIDIA-GH200-480GB", 97_871 * MIB, (9, 0), mig=_SLICES_96GB),
    Accelerator("h20", "NVIDIA-H20", 97_871 * MIB, (9, 0), mig=_SLICES_96GB),
    Accelerator("h100-nvl", "NVIDIA-H100-NVL", 95_830 * MIB, (9, 0), mig=_SLICES_H100_94GB),
    Accelerator("h100-80gb", _H100_SXM, 81_559 * MIB, (9, 0), "nvidia-h100-80gb", _SLICES_H100_80GB),
    # The same GPU, but a different network between machines.
    Accelerator("h100-mega-80gb", _H100_SXM, 81_559 * MIB, (9, 0), "nvidia-h100-mega-80gb", _SLICES_H100_80GB),
    Accelerator("h100-pcie", "NVIDIA-H100-PCIe", 81_559 * MIB, (9, 0), mig=_SLICES_H100_80GB),
    Accelerator("a100-80gb", "NVIDIA-A100-SXM4-80GB", 81_920 * MIB, (8, 0), "nvidia-a100-80gb", _SLICES_A100_80GB),
    Accelerator("a100-80gb-pcie", "NVIDIA-A100-80GB-PCIe", 81_920 * MIB, (8, 0), mig=_SLICES_A100_80GB),
    Accelerator("a100-40gb", "NVIDIA-A100-SXM4-40GB", 40_960 * MIB, (8, 0), "nvidia-tesla-a100", _SLICES_A100_40GB),
    Accelerator("a100-40gb-pcie", "NVIDIA-A100-PCIE-40GB", 40_960 * MIB, (8, 0), mig=_SLICES_A100_40GB),
    Accelerator("rtx-pro-6000", _RTX_PRO_6000, 97_887 * MIB, (12, 0), "nvidia-rtx-pro-6000", _SLICES_RTX),
    Accelerator("l40s", "NVIDIA-L40S", 46_068 * MIB, (8, 9)),
    Accelerator("l40", "NVIDIA-L40", 46_068 * MIB, (8, 9)),
    Accelerator("a40", "NVIDIA-A40", 46_068 * MIB, (8, 6)),
    Accelerator("rtx-a6000", "NVIDIA-RTX-A6000", 49_140 * MIB, (8, 6)),
    Accelerator("rtx-4090", "NVIDIA-GeForce-RTX-4090", 24_564 * MIB, (8, 9)),
    Accelerator("rtx-3090", "NVIDIA-GeForce-RTX-3090", 24_576 * MIB, (8, 6)),
    Accelerator("l4", "NVIDIA-L4", 23_034 * MIB, (8, 9), "nvidia-l4"),
    Accelerator("a10g", "NVIDIA-A10G", 23_028 * MIB, (8, 6)),
    Accelerator("a10", "NVIDIA-A10", 23_028 * MIB, (8, 6)),
    Accelerator("v100-32gb", "Tesla-V100-SXM2-32GB", 32_768 * MIB, (7, 0)),
    Accelerator("v100-16gb", "Tesla-V100-SXM2-16GB", 16_384 * MIB, (7, 0), "nvidia-tesla-v100"),
    Accelerator("t4", "Tesla-T4", 15_360 * MIB, (7, 5), "nvidia-tesla-t4"),
)

_BY_PRODUCT = {a.product.lower(): a for a in reversed(ACCELERATORS)}  # for equal products, the first row counts
_BY_KEY = {a.key: a for a in ACCELERATORS}
_PROFILE = re.compile(r"(\d+g\.(\d+)gb)(?:\.me(?:\.all)?|\.gfx|-me)?")
"""A profile as GPU feature discovery writes it: with media extensions or graphics, or without media engines."""


def accelerator_by_product(product: str) -> Accelerator | None:
    """Returns the accelerator with a product label; None if it is not in the catalogue.

    A MIG slice (`NVIDIA-A100-SXM4-80GB-MIG-3g.40gb`) whose memory is unknown has what the profile's name says. A
    time-sliced GPU (`…-SHARED`) returns None, since the memory that others use is unknown.
    """
    if found := _BY_PRODUCT.get(product.lower()):
        return found
    name, _, suffix = product.lower().partition("-mig-")
    whole, profile = _BY_PRODUCT.get(name), _PROFILE.fullmatch(suffix)
    if whole is None or profile is None:
        return None
    known = next((s.memory_mib for s in whole.mig if s.profile == profile[1]), 0)
    memory = known * MIB or min(int(profile[2]) * GIB, whole.memory_bytes)
    return Accelerator(whole.key, product, memory, whole.capability)


def accelerator_by_key(key: str) -> Accelerator | None:
    """Returns the accelerator with the configuration name `key`; None if it is not in the catalogue."""
    return _BY_KEY.get(key)
