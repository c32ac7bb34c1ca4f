"""The machine types of AWS.

Source: https://karpenter.sh/docs/reference/instance-types/, generated from DescribeInstanceTypes. Instance stores:
https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html; those of g machines are smaller than a root disk, so they
are left out.
"""

from __future__ import annotations

from infra.nodes.machines import MachineType

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
)

DEFAULT = "m7i.xlarge"
"""Machine type of a pool without GPUs that names none."""
