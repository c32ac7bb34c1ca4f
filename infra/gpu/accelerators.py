"""The catalogue of accelerators: memory, product names and MIG profiles.

Sources. Memory: as printed by `nvidia-smi`, listed in
https://github.com/ai-dynamo/aiconfigurator/tree/main/aic-core/src/aiconfigurator_core/systems and
https://karpenter.sh/docs/reference/instance-types/. Slices:
https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html and, for GB200, B300, GB300 and
H20, https://github.com/NVIDIA/mig-parted/blob/main/deployments/systemd/config-default.yaml. GKE's names:
https://cloud.google.com/kubernetes-engine/docs/concepts/gpus and `gcloud compute accelerator-types list`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True)
class Accelerator:
    """One kind of GPU."""

    key: str
    """Its name in a configuration."""
    product: str
    """Value of the node label `nvidia.com/gpu.product`, set by NVIDIA's GPU feature discovery."""
    memory_bytes: int
    """Memory that the driver reports (`nvidia-smi --query-gpu=memory.total`) with ECC on."""
    gke: str = ""
    """GKE's name; empty if GKE does not offer it."""
    mig: tuple[tuple[str, int], ...] = ()
    """MIG profiles, each with the number of slices per GPU; empty: MIG is not supported."""


_SLICES_40GB = (("1g.5gb", 7), ("1g.10gb", 4), ("2g.10gb", 3), ("3g.20gb", 2), ("4g.20gb", 1), ("7g.40gb", 1))
_SLICES_80GB = (("1g.10gb", 7), ("1g.20gb", 4), ("2g.20gb", 3), ("3g.40gb", 2), ("4g.40gb", 1), ("7g.80gb", 1))
_SLICES_94GB = (("1g.12gb", 7), ("1g.24gb", 4), ("2g.24gb", 3), ("3g.47gb", 2), ("4g.47gb", 1), ("7g.94gb", 1))
_SLICES_96GB = (("1g.12gb", 7), ("1g.24gb", 4), ("2g.24gb", 3), ("3g.48gb", 2), ("4g.48gb", 1), ("7g.96gb", 1))
_SLICES_H200 = (("1g.18gb", 7), ("1g.35gb", 4), ("2g.35gb", 3), ("3g.71gb", 2), ("4g.71gb", 1), ("7g.141gb", 1))
_SLICES_B200 = (("1g.23gb", 7), ("1g.45gb", 4), ("2g.45gb", 3), ("3g.90gb", 2), ("4g.90gb", 1), ("7g.180gb", 1))
_SLICES_GB200 = (("1g.23gb", 7), ("1g.47gb", 4), ("2g.47gb", 3), ("3g.93gb", 2), ("4g.93gb", 1), ("7g.186gb", 1))
_SLICES_B300 = (("1g.34gb", 7), ("1g.67gb", 4), ("2g.67gb", 3), ("3g.135gb", 2), ("4g.135gb", 1), ("7g.269gb", 1))
_SLICES_GB300 = (("1g.35gb", 7), ("1g.70gb", 4), ("2g.70gb", 3), ("3g.139gb", 2), ("4g.139gb", 1), ("7g.278gb", 1))
_SLICES_RTX = (("1g.24gb", 4), ("2g.48gb", 2), ("4g.96gb", 1))

_H100_SXM = "NVIDIA-H100-80GB-HBM3"
_RTX_PRO_6000 = "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"

ACCELERATORS: tuple[Accelerator, ...] = (
    Accelerator("gb300", "NVIDIA-GB300", 284_208 * MIB, mig=_SLICES_GB300),
    Accelerator("b300", "NVIDIA-B300-SXM6-AC", 275_040 * MIB, mig=_SLICES_B300),
    # GKE's machines with it have Arm CPUs, which the stack's images do not support, so GKE's name is omitted.
    Accelerator("gb200", "NVIDIA-GB200", 189_471 * MIB, mig=_SLICES_GB200),
    Accelerator("b200", "NVIDIA-B200", 183_359 * MIB, "nvidia-b200", _SLICES_B200),
    Accelerator("h200", "NVIDIA-H200", 143_771 * MIB, "nvidia-h200-141gb", _SLICES_H200),
    Accelerator("gh200", "NVIDIA-GH200-480GB", 97_871 * MIB, mig=_SLICES_96GB),
    Accelerator("h20", "NVIDIA-H20", 97_871 * MIB, mig=_SLICES_96GB),
    Accelerator("h100-nvl", "NVIDIA-H100-NVL", 95_830 * MIB, mig=_SLICES_94GB),
    Accelerator("h100-80gb", _H100_SXM, 81_559 * MIB, "nvidia-h100-80gb", _SLICES_80GB),
    # The same GPU, but a different network between machines.
    Accelerator("h100-mega-80gb", _H100_SXM, 81_559 * MIB, "nvidia-h100-mega-80gb", _SLICES_80GB),
    Accelerator("h100-pcie", "NVIDIA-H100-PCIe", 81_559 * MIB, mig=_SLICES_80GB),
    Accelerator("a100-80gb", "NVIDIA-A100-SXM4-80GB", 81_920 * MIB, "nvidia-a100-80gb", _SLICES_80GB),
    Accelerator("a100-80gb-pcie", "NVIDIA-A100-80GB-PCIe", 81_920 * MIB, mig=_SLICES_80GB),
    Accelerator("a100-40gb", "NVIDIA-A100-SXM4-40GB", 40_960 * MIB, "nvidia-tesla-a100", _SLICES_40GB),
    Accelerator("a100-40gb-pcie", "NVIDIA-A100-PCIE-40GB", 40_960 * MIB, mig=_SLICES_40GB),
    Accelerator("rtx-pro-6000", _RTX_PRO_6000, 97_887 * MIB, "nvidia-rtx-pro-6000", _SLICES_RTX),
    Accelerator("l40s", "NVIDIA-L40S", 46_068 * MIB),
    Accelerator("l40", "NVIDIA-L40", 46_068 * MIB),
    Accelerator("a40", "NVIDIA-A40", 46_068 * MIB),
    Accelerator("rtx-a6000", "NVIDIA-RTX-A6000", 49_140 * MIB),
    Accelerator("rtx-4090", "NVIDIA-GeForce-RTX-4090", 24_564 * MIB),
    Accelerator("rtx-3090", "NVIDIA-GeForce-RTX-3090", 24_576 * MIB),
    Accelerator("l4", "NVIDIA-L4", 23_034 * MIB, "nvidia-l4"),
    Accelerator("a10g", "NVIDIA-A10G", 23_028 * MIB),
    Accelerator("a10", "NVIDIA-A10", 23_028 * MIB),
    Accelerator("v100-32gb", "Tesla-V100-SXM2-32GB", 32_768 * MIB),
    Accelerator("v100-16gb", "Tesla-V100-SXM2-16GB", 16_384 * MIB, "nvidia-tesla-v100"),
    Accelerator("t4", "Tesla-T4", 15_360 * MIB, "nvidia-tesla-t4"),
)

_BY_PRODUCT = {a.product.lower(): a for a in reversed(ACCELERATORS)}  # for equal products, the first row counts
_BY_KEY = {a.key: a for a in ACCELERATORS}


def accelerator_by_product(product: str) -> Accelerator | None:
    """Returns the accelerator with a product label; None if it is not in the catalogue.

    A MIG slice (`NVIDIA-A100-SXM4-80GB-MIG-3g.40gb`) has the memory in its profile's name. A time-sliced GPU
    (`…-SHARED`) returns None, since the memory that others use is unknown.
    """
    if found := _BY_PRODUCT.get(product.lower()):
        return found
    whole, _, profile = product.lower().partition("-mig-")
    size = re.fullmatch(r"\d+g\.(\d+)gb(?:\.me)?", profile)
    if whole in _BY_PRODUCT and size:
        return Accelerator(_BY_PRODUCT[whole].key, product, int(size[1]) * GIB)
    return None


def accelerator_by_key(key: str) -> Accelerator | None:
    """Returns the accelerator with the configuration name `key`; None if it is not in the catalogue."""
    return _BY_KEY.get(key)
