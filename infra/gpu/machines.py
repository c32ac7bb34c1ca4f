"""The catalogue of the clouds' machine types.

It has only x86 machines, like the stack's images, and only whole GPUs. Sources. AWS:
https://karpenter.sh/docs/reference/instance-types/, generated from DescribeInstanceTypes. GCP: `gcloud compute
machine-types list`, as in https://github.com/Cyclenerd/google-cloud-pricing-cost-calculator/blob/master/tools/machinetypes.csv;
GPUs for N1 and local SSDs: https://cloud.google.com/compute/docs/gpus. Instance stores of AWS:
https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html; those of g machines are smaller than a root disk, so they
are left out. Azure: sizes that AKS supports, as in
https://aspire.dev/reference/api/csharp/aspire.hosting.azure.kubernetes/ (one AksNodeVmSizes class for each family).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Cloud = Literal["aws", "gcp", "azure"]
CLOUDS: tuple[Cloud, ...] = get_args(Cloud)


@dataclass(frozen=True)
class MachineType:
    """One machine type."""

    cloud: Cloud
    name: str
    """The cloud's name, for example g6.xlarge."""
    vcpus: int
    memory_gib: float
    accelerator: str = ""
    """Key of its accelerator; empty: none."""
    gpus: int = 0
    attachable: bool = False
    """GPUs are attached on request (GCP's N1); `gpus` is then the maximum."""
    local_ssds: int = 0
    """Local NVMe disks that the machine always has, and that store what its pods write; 0: its root disk does."""
    local_ssd_gib: int = 0
    """Size of all of them."""


MACHINES: tuple[MachineType, ...] = (
    MachineType("aws", "g4dn.xlarge", 4, 16, "t4", 1),
    MachineType("aws", "g4dn.2xlarge", 8, 32, "t4", 1),
    MachineType("aws", "g4dn.4xlarge", 16, 64, "t4", 1),
    MachineType("aws", "g4dn.8xlarge", 32, 128, "t4", 1),
    MachineType("aws", "g4dn.12xlarge", 48, 192, "t4", 4),
    MachineType("aws", "g4dn.16xlarge", 64, 256, "t4", 1),
    MachineType("aws", "g4dn.metal", 96, 384, "t4", 8),
    MachineType("aws", "g5.xlarge", 4, 16, "a10g", 1),
    MachineType("aws", "g5.2xlarge", 8, 32, "a10g", 1),
    MachineType("aws", "g5.4xlarge", 16, 64, "a10g", 1),
    MachineType("aws", "g5.8xlarge", 32, 128, "a10g", 1),
    MachineType("aws", "g5.12xlarge", 48, 192, "a10g", 4),
    MachineType("aws", "g5.16xlarge", 64, 256, "a10g", 1),
    MachineType("aws", "g5.24xlarge", 96, 384, "a10g", 4),
    MachineType("aws", "g5.48xlarge", 192, 768, "a10g", 8),
    MachineType("aws", "g6.xlarge", 4, 16, "l4", 1),
    MachineType("aws", "g6.2xlarge", 8, 32, "l4", 1),
    MachineType("aws", "g6.4xlarge", 16, 64, "l4", 1),
    MachineType("aws", "g6.8xlarge", 32, 128, "l4", 1),
    MachineType("aws", "g6.12xlarge", 48, 192, "l4", 4),
    MachineType("aws", "g6.16xlarge", 64, 256, "l4", 1),
    MachineType("aws", "g6.24xlarge", 96, 384, "l4", 4),
    MachineType("aws", "g6.48xlarge", 192, 768, "l4", 8),
    MachineType("aws", "gr6.4xlarge", 16, 128, "l4", 1),
    MachineType("aws", "gr6.8xlarge", 32, 256, "l4", 1),
    MachineType("aws", "g6e.xlarge", 4, 32, "l40s", 1),
    MachineType("aws", "g6e.2xlarge", 8, 64, "l40s", 1),
    MachineType("aws", "g6e.4xlarge", 16, 128, "l40s", 1),
    MachineType("aws", "g6e.8xlarge", 32, 256, "l40s", 1),
    MachineType("aws", "g6e.12xlarge", 48, 384, "l40s", 4),
    MachineType("aws", "g6e.16xlarge", 64, 512, "l40s", 1),
    MachineType("aws", "g6e.24xlarge", 96, 768, "l40s", 4),
    MachineType("aws", "g6e.48xlarge", 192, 1536, "l40s", 8),
    MachineType("aws", "g7e.2xlarge", 8, 64, "rtx-pro-6000", 1),
    MachineType("aws", "g7e.4xlarge", 16, 128, "rtx-pro-6000", 1),
    MachineType("aws", "g7e.8xlarge", 32, 256, "rtx-pro-6000", 1),
    MachineType("aws", "g7e.12xlarge", 48, 512, "rtx-pro-6000", 2),
    MachineType("aws", "g7e.24xlarge", 96, 1024, "rtx-pro-6000", 4),
    MachineType("aws", "g7e.48xlarge", 192, 2048, "rtx-pro-6000", 8),
    MachineType("aws", "p4d.24xlarge", 96, 1152, "a100-40gb", 8, local_ssds=8, local_ssd_gib=7450),
    MachineType("aws", "p4de.24xlarge", 96, 1152, "a100-80gb", 8, local_ssds=8, local_ssd_gib=7450),
    MachineType("aws", "p5.4xlarge", 16, 256, "h100-80gb", 1, local_ssds=1, local_ssd_gib=3576),
    MachineType("aws", "p5.48xlarge", 192, 2048, "h100-80gb", 8, local_ssds=8, local_ssd_gib=28_610),
    MachineType("aws", "p5e.48xlarge", 192, 2048, "h200", 8, local_ssds=8, local_ssd_gib=28_610),
    MachineType("aws", "p5en.48xlarge", 192, 2048, "h200", 8, local_ssds=8, local_ssd_gib=28_610),
    MachineType("aws", "p6-b200.48xlarge", 192, 2048, "b200", 8, local_ssds=8, local_ssd_gib=28_610),
    MachineType("aws", "p6-b300.48xlarge", 192, 4096, "b300", 8, local_ssds=8, local_ssd_gib=28_610),
    MachineType("aws", "c7i.large", 2, 4),
    MachineType("aws", "c7i.xlarge", 4, 8),
    MachineType("aws", "c7i.2xlarge", 8, 16),
    MachineType("aws", "c7i.4xlarge", 16, 32),
    MachineType("aws", "c7i.8xlarge", 32, 64),
    MachineType("aws", "m7a.large", 2, 8),
    MachineType("aws", "m7a.xlarge", 4, 16),
    MachineType("aws", "m7a.2xlarge", 8, 32),
    MachineType("aws", "m7a.4xlarge", 16, 64),
    MachineType("aws", "m7a.8xlarge", 32, 128),
    MachineType("aws", "m7i.large", 2, 8),
    MachineType("aws", "m7i.xlarge", 4, 16),
    MachineType("aws", "m7i.2xlarge", 8, 32),
    MachineType("aws", "m7i.4xlarge", 16, 64),
    MachineType("aws", "m7i.8xlarge", 32, 128),
    MachineType("aws", "r7i.large", 2, 16),
    MachineType("aws", "r7i.xlarge", 4, 32),
    MachineType("aws", "r7i.2xlarge", 8, 64),
    MachineType("aws", "r7i.4xlarge", 16, 128),
    MachineType("aws", "r7i.8xlarge", 32, 256),
    MachineType("gcp", "g2-standard-4", 4, 16, "l4", 1),
    MachineType("gcp", "g2-standard-8", 8, 32, "l4", 1),
    MachineType("gcp", "g2-standard-12", 12, 48, "l4", 1),
    MachineType("gcp", "g2-standard-16", 16, 64, "l4", 1),
    MachineType("gcp", "g2-standard-24", 24, 96, "l4", 2),
    MachineType("gcp", "g2-standard-32", 32, 128, "l4", 1),
    MachineType("gcp", "g2-standard-48", 48, 192, "l4", 4),
    MachineType("gcp", "g2-standard-96", 96, 384, "l4", 8),
    MachineType("gcp", "g4-standard-48", 48, 180, "rtx-pro-6000", 1),
    MachineType("gcp", "g4-standard-96", 96, 360, "rtx-pro-6000", 2),
    MachineType("gcp", "g4-standard-192", 192, 720, "rtx-pro-6000", 4),
    MachineType("gcp", "g4-standard-384", 384, 1440, "rtx-pro-6000", 8),
    MachineType("gcp", "a2-highgpu-1g", 12, 85, "a100-40gb", 1),
    MachineType("gcp", "a2-highgpu-2g", 24, 170, "a100-40gb", 2),
    MachineType("gcp", "a2-highgpu-4g", 48, 340, "a100-40gb", 4),
    MachineType("gcp", "a2-highgpu-8g", 96, 680, "a100-40gb", 8),
    MachineType("gcp", "a2-megagpu-16g", 96, 1360, "a100-40gb", 16),
    MachineType("gcp", "a2-ultragpu-1g", 12, 170, "a100-80gb", 1, local_ssds=1, local_ssd_gib=375),
    MachineType("gcp", "a2-ultragpu-2g", 24, 340, "a100-80gb", 2, local_ssds=2, local_ssd_gib=750),
    MachineType("gcp", "a2-ultragpu-4g", 48, 680, "a100-80gb", 4, local_ssds=4, local_ssd_gib=1500),
    MachineType("gcp", "a2-ultragpu-8g", 96, 1360, "a100-80gb", 8, local_ssds=8, local_ssd_gib=3000),
    MachineType("gcp", "a3-highgpu-1g", 26, 234, "h100-80gb", 1, local_ssds=2, local_ssd_gib=750),
    MachineType("gcp", "a3-highgpu-2g", 52, 468, "h100-80gb", 2, local_ssds=4, local_ssd_gib=1500),
    MachineType("gcp", "a3-highgpu-4g", 104, 936, "h100-80gb", 4, local_ssds=8, local_ssd_gib=3000),
    MachineType("gcp", "a3-highgpu-8g", 208, 1872, "h100-80gb", 8, local_ssds=16, local_ssd_gib=6000),
    MachineType("gcp", "a3-megagpu-8g", 208, 1872, "h100-mega-80gb", 8, local_ssds=16, local_ssd_gib=6000),
    MachineType("gcp", "a3-ultragpu-8g", 224, 2952, "h200", 8, local_ssds=32, local_ssd_gib=12_000),
    MachineType("gcp", "a4-highgpu-8g", 224, 3968, "b200", 8, local_ssds=32, local_ssd_gib=12_000),
    MachineType("gcp", "n1-standard-4", 4, 15, "t4", 4, attachable=True),
    MachineType("gcp", "n1-standard-8", 8, 30, "t4", 4, attachable=True),
    MachineType("gcp", "n1-standard-16", 16, 60, "t4", 4, attachable=True),
    MachineType("gcp", "n1-standard-32", 32, 120, "t4", 4, attachable=True),
    MachineType("gcp", "n1-highmem-8", 8, 52, "v100-16gb", 8, attachable=True),
    MachineType("gcp", "c3-standard-4", 4, 16),
    MachineType("gcp", "c3-standard-8", 8, 32),
    MachineType("gcp", "c3-standard-22", 22, 88),
    MachineType("gcp", "c3-standard-44", 44, 176),
    MachineType("gcp", "e2-standard-2", 2, 8),
    MachineType("gcp", "e2-standard-4", 4, 16),
    MachineType("gcp", "e2-standard-8", 8, 32),
    MachineType("gcp", "e2-standard-16", 16, 64),
    MachineType("gcp", "e2-standard-32", 32, 128),
    MachineType("gcp", "n2-standard-2", 2, 8),
    MachineType("gcp", "n2-standard-4", 4, 16),
    MachineType("gcp", "n2-standard-8", 8, 32),
    MachineType("gcp", "n2-standard-16", 16, 64),
    MachineType("gcp", "n2-standard-32", 32, 128),
    MachineType("azure", "Standard_NC4as_T4_v3", 4, 28, "t4", 1),
    MachineType("azure", "Standard_NC8as_T4_v3", 8, 56, "t4", 1),
    MachineType("azure", "Standard_NC16as_T4_v3", 16, 110, "t4", 1),
    MachineType("azure", "Standard_NC64as_T4_v3", 64, 440, "t4", 4),
    MachineType("azure", "Standard_NV36ads_A10_v5", 36, 440, "a10", 1),
    MachineType("azure", "Standard_NV72ads_A10_v5", 72, 880, "a10", 2),
    MachineType("azure", "Standard_NC24ads_A100_v4", 24, 220, "a100-80gb-pcie", 1),
    MachineType("azure", "Standard_NC48ads_A100_v4", 48, 440, "a100-80gb-pcie", 2),
    MachineType("azure", "Standard_NC96ads_A100_v4", 96, 880, "a100-80gb-pcie", 4),
    MachineType("azure", "Standard_NC40ads_H100_v5", 40, 320, "h100-nvl", 1),
    MachineType("azure", "Standard_NC80adis_H100_v5", 80, 640, "h100-nvl", 2),
    MachineType("azure", "Standard_ND96asr_v4", 96, 900, "a100-40gb", 8),
    MachineType("azure", "Standard_ND96amsr_A100_v4", 96, 1800, "a100-80gb", 8),
    MachineType("azure", "Standard_ND96isr_H100_v5", 96, 1900, "h100-80gb", 8),
    MachineType("azure", "Standard_ND96isr_H200_v5", 96, 1850, "h200", 8),
    MachineType("azure", "Standard_D2s_v5", 2, 8),
    MachineType("azure", "Standard_D4s_v5", 4, 16),
    MachineType("azure", "Standard_D8s_v5", 8, 32),
    MachineType("azure", "Standard_D16s_v5", 16, 64),
    MachineType("azure", "Standard_D32s_v5", 32, 128),
    MachineType("azure", "Standard_D2s_v6", 2, 8),
    MachineType("azure", "Standard_D4s_v6", 4, 16),
    MachineType("azure", "Standard_D8s_v6", 8, 32),
    MachineType("azure", "Standard_D16s_v6", 16, 64),
    MachineType("azure", "Standard_D32s_v6", 32, 128),
    MachineType("azure", "Standard_E2s_v5", 2, 16),
    MachineType("azure", "Standard_E4s_v5", 4, 32),
    MachineType("azure", "Standard_E8s_v5", 8, 64),
    MachineType("azure", "Standard_E16s_v5", 16, 128),
    MachineType("azure", "Standard_E32s_v5", 32, 256),
)

DEFAULT_MACHINE_TYPES: dict[Cloud, str] = {"aws": "m7i.xlarge", "gcp": "n2-standard-4", "azure": "Standard_D4s_v5"}
"""Machine type of a pool without GPUs that names none."""

_BY_NAME = {(m.cloud, m.name): m for m in MACHINES}


def machine_type(cloud: Cloud, name: str) -> MachineType | None:
    """Returns the machine type with a name; None if it is not in the catalogue."""
    return _BY_NAME.get((cloud, name))


def smallest_machine_type(cloud: Cloud, accelerator: str, gpus: int) -> MachineType | None:
    """Returns the smallest machine type with exactly these GPUs; None if the catalogue has none."""
    fitting = [
        m
        for m in MACHINES
        if m.cloud == cloud
        and m.accelerator == accelerator
        and (m.gpus == gpus or (m.attachable and gpus <= m.gpus and not gpus & (gpus - 1)))
    ]
    return min(fitting, key=lambda m: (m.vcpus, m.memory_gib), default=None)
