"""The machine types of Google Cloud.

Source: `gcloud compute machine-types list`, as in
https://github.com/Cyclenerd/google-cloud-pricing-cost-calculator/blob/master/tools/machinetypes.csv. GPUs for N1 and
local SSDs: https://cloud.google.com/compute/docs/gpus.
"""

from __future__ import annotations

from infra.nodes.machines import MachineType

MACHINES: tuple[MachineType, ...] = (
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
)

DEFAULT = "n2-standard-4"
"""Machine type of a pool without GPUs that names none."""
