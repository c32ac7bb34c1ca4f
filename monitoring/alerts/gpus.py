"""Alerts about GPUs, from NVIDIA's DCGM exporter and Kubernetes."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.rule import Alert, Group

_GPU = '{gpu="0",UUID="GPU-1",modelName="NVIDIA H100",Hostname="node-a"}'
_NODE = '{node="node-a",resource="nvidia_com_gpu",unit="integer"}'

GROUP = Group(
    "alerts-gpus",
    (
        Alert(
            name="GpuXidError",
            # The gauge keeps the last error's number for ever, so the alert looks for a change.
            expression="max by (Hostname, gpu) (DCGM_FI_DEV_XID_ERRORS) > 0"
            " and max by (Hostname, gpu) (changes(DCGM_FI_DEV_XID_ERRORS[30m])) > 0",
            wait="0m",
            severity="page",
            owner="platform",
            summary="The driver reports XID {{ $value }} on GPU {{ $labels.gpu }} of {{ $labels.Hostname }}",
            dashboard="gpus",
            fires=alert_case("30m", (f"DCGM_FI_DEV_XID_ERRORS{_GPU}", "0x20 79x20")),
            silent=alert_case("45m", (f"DCGM_FI_DEV_XID_ERRORS{_GPU}", "0x10 79x40")),
        ),
        Alert(
            name="GpuHot",
            expression="max by (Hostname, gpu) (DCGM_FI_DEV_GPU_TEMP) > 85",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} is at {{ $value }} degrees Celsius",
            dashboard="gpus",
            fires=alert_case("15m", (f"DCGM_FI_DEV_GPU_TEMP{_GPU}", "86x20")),
            silent=alert_case("15m", (f"DCGM_FI_DEV_GPU_TEMP{_GPU}", "90x9 85x20")),
        ),
        Alert(
            name="GpuMemoryHot",
            expression="max by (Hostname, gpu) (DCGM_FI_DEV_MEMORY_TEMP) > 95",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="The memory of GPU {{ $labels.gpu }} of {{ $labels.Hostname }} is at {{ $value }} degrees Celsius",
            dashboard="gpus",
            fires=alert_case("15m", (f"DCGM_FI_DEV_MEMORY_TEMP{_GPU}", "96x20")),
            silent=alert_case("15m", (f"DCGM_FI_DEV_MEMORY_TEMP{_GPU}", "96x9 95x20")),
        ),
        Alert(
            name="GpuEccErrors",
            expression="sum by (Hostname, gpu) (increase(DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS[1h])) > 0",
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} remapped a row of its memory",
            dashboard="gpus",
            fires=alert_case("50m", (f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{_GPU}", "2x30 3x40")),
            silent=alert_case("100m", (f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{_GPU}", "2x30 3x90")),
        ),
        Alert(
            name="GpuMemoryBroken",
            expression="max by (Hostname, gpu) (DCGM_FI_DEV_ROW_REMAP_FAILURE) > 0",
            wait="0m",
            severity="page",
            owner="platform",
            summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} can no longer remap memory rows",
            dashboard="gpus",
            fires=alert_case("5m", (f"DCGM_FI_DEV_ROW_REMAP_FAILURE{_GPU}", "0x3 1x10")),
            silent=alert_case(
                "5m",
                (f"DCGM_FI_DEV_ROW_REMAP_FAILURE{_GPU}", "0x10"),
                (f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{_GPU}", "1x10"),
            ),
        ),
        Alert(
            name="GpuMemoryFull",
            # vLLM allocates a fixed share and stays below this; another program or a leak may not.
            expression="max by (Hostname, gpu)"
            " (DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)) > 0.98",
            wait="10m",
            severity="ticket",
            owner="models",
            summary="The memory of GPU {{ $labels.gpu }} of {{ $labels.Hostname }} is"
            " {{ $value | humanizePercentage }} full",
            dashboard="gpus",
            fires=alert_case(
                "15m", (f"DCGM_FI_DEV_FB_USED{_GPU}", "79000x20"), (f"DCGM_FI_DEV_FB_FREE{_GPU}", "1000x20")
            ),
            silent=alert_case(
                "15m", (f"DCGM_FI_DEV_FB_USED{_GPU}", "78000x20"), (f"DCGM_FI_DEV_FB_FREE{_GPU}", "2000x20")
            ),
        ),
        Alert(
            name="GpuUnhealthy",
            expression='kube_node_status_allocatable{resource="nvidia_com_gpu"}'
            ' < max_over_time(kube_node_status_allocatable{resource="nvidia_com_gpu"}[6h])',
            wait="5m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.node }} offers only {{ $value }} GPUs, fewer than in the last 6 hours",
            dashboard="gpus",
            fires=alert_case("15m", (f"kube_node_status_allocatable{_NODE}", "8x5 7x20")),
            # A restart of the device plugin.
            silent=alert_case("15m", (f"kube_node_status_allocatable{_NODE}", "8x9 0x4 8x20")),
        ),
    ),
)
