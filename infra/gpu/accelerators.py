"""Facts about accelerators, as data: the only place where they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True)
class Accelerator:
    """One kind of GPU."""

    product: str
    """As NVIDIA's GPU feature discovery labels nodes: `nvidia.com/gpu.product`."""
    memory_bytes: int
    """What the driver reports (`nvidia-smi --query-gpu=memory.total`), with ECC on."""


ACCELERATORS: tuple[Accelerator, ...] = (
    Accelerator("NVIDIA-B200", 183_359 * MIB),
    Accelerator("NVIDIA-H200", 143_771 * MIB),
    Accelerator("NVIDIA-H100-NVL", 95_830 * MIB),
    Accelerator("NVIDIA-H100-80GB-HBM3", 81_559 * MIB),
    Accelerator("NVIDIA-H100-PCIe", 81_559 * MIB),
    Accelerator("NVIDIA-A100-SXM4-80GB", 81_920 * MIB),
    Accelerator("NVIDIA-A100-80GB-PCIe", 81_920 * MIB),
    Accelerator("NVIDIA-A100-SXM4-40GB", 40_960 * MIB),
    Accelerator("NVIDIA-A100-PCIE-40GB", 40_960 * MIB),
    Accelerator("NVIDIA-L40S", 46_068 * MIB),
    Accelerator("NVIDIA-A40", 46_068 * MIB),
    Accelerator("NVIDIA-RTX-A6000", 49_140 * MIB),
    Accelerator("NVIDIA-GeForce-RTX-4090", 24_564 * MIB),
    Accelerator("NVIDIA-L4", 23_034 * MIB),
    Accelerator("NVIDIA-A10G", 23_028 * MIB),
    Accelerator("NVIDIA-A10", 23_028 * MIB),
    Accelerator("Tesla-V100-SXM2-32GB", 32_768 * MIB),
    Accelerator("Tesla-V100-SXM2-16GB", 16_384 * MIB),
    Accelerator("Tesla-T4", 15_360 * MIB),
)

_BY_PRODUCT = {a.product.lower(): a for a in ACCELERATORS}


def accelerator(product: str) -> Accelerator | None:
    """Returns what is known about a product label; None when it is not in the catalogue.

    A MIG slice (`NVIDIA-A100-SXM4-80GB-MIG-3g.40gb`) has the memory that its profile names. A time-sliced GPU
    (`…-SHARED`) is not known: who else uses its memory cannot be told.
    """
    if found := _BY_PRODUCT.get(product.lower()):
        return found
    whole, _, profile = product.lower().partition("-mig-")
    size = re.fullmatch(r"\d+g\.(\d+)gb(?:\.me)?", profile)
    if whole in _BY_PRODUCT and size:
        return Accelerator(product, int(size[1]) * GIB)
    return None
