"""The machine types of Azure: sizes that AKS supports.

Source: https://aspire.dev/reference/api/csharp/aspire.hosting.azure.kubernetes/ (one AksNodeVmSizes class for each
family).
"""

from __future__ import annotations

from infra.nodes.machines import MachineType

MACHINES: tuple[MachineType, ...] = (
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

DEFAULT = "Standard_D4s_v5"
"""Machine type of a pool without GPUs that names none."""
