"""Alerts about GPUs, from NVIDIA's DCGM exporter and Kubernetes."""

from __future__ import annotations

from monitoring.alerts.seen import seen
from monitoring.rule import Alert, Group

_GPU = '{gpu="0",UUID="GPU-1",modelName="NVIDIA H100",Hostname="node-a"}'
_NODE = '{node="node-a",resource="nvidia_com_gpu",unit="integer"}'

GROUP = Group(
    "alerts-gpus",
    (
        Alert(
            name="GpuXidError",
            # The gauge keeps the last error's number for ever, so that only a change is news.
            expression="max by (Hostname, gpu) (DCGM_FI_DEV_XID_ERRORS) > 0"
            " and max by (Hostname, gpu) (changes(DCGM_FI_DEV_XID_ERRORS[30m])) > 0",
            wait="0m",
            severity="page",
            owner="platform",
            summary="The driver reports XID {{ $value }} on GPU {{ $labels.gpu }} of {{ $labels.Hostname }}",
            dashboard="gpus",
            fires=seen("30m", (f"DCGM_FI_DEV_XID_ERRORS{_GPU}", "0x20 79x20")),
            silent=seen("45m", (f"DCGM_FI_DEV_XID_ERRORS{_GPU}", "0x10 79x40")),
        ),
        Alert(
            name="GpuHot",
            expression="max by (Hostname, gpu) (DCGM_FI_DEV_GPU_TEMP) > 85",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} has {{ $value }} degrees Celsius",
            dashboard="gpus",
            fires=seen("15m", (f"DCGM_FI_DEV_GPU_TEMP{_GPU}", "86x20")),
            silent=seen("15m", (f"DCGM_FI_DEV_GPU_TEMP{_GPU}", "90x9 85x20")),
        ),
        Alert(
            name="GpuMemoryHot",
            expression="max by (Hostname, gpu) (DCGM_FI_DEV_MEMORY_TEMP) > 95",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="The memory of GPU {{ $labels.gpu }} of {{ $labels.Hostname }} has {{ $value }} degrees Celsius",
            dashboard="gpus",
            fires=seen("15m", (f"DCGM_FI_DEV_MEMORY_TEMP{_GPU}", "96x20")),
            silent=seen("15m", (f"DCGM_FI_DEV_MEMORY_TEMP{_GPU}", "96x9 95x20")),
        ),
        Alert(
            name="GpuEccErrors",
            expression="sum by (Hostname, gpu) (increase(DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS[1h])) > 0",
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} took a row of its memory out of use",
            dashboard="gpus",
            fires=seen("50m", (f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{_GPU}", "2x30 3x40")),
            silent=seen("100m", (f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{_GPU}", "2x30 3x90")),
        ),
        Alert(
            name="GpuMemoryBroken",
            expression="max by (Hostname, gpu) (DCGM_FI_DEV_ROW_REMAP_FAILURE) > 0",
            wait="0m",
            severity="page",
            owner="platform",
            summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} can repair its memory no more",
            dashboard="gpus",
            fires=seen("5m", (f"DCGM_FI_DEV_ROW_REMAP_FAILURE{_GPU}", "0x3 1x10")),
            silent=seen(
                "5m",
                (f"DCGM_FI_DEV_ROW_REMAP_FAILURE{_GPU}", "0x10"),
                (f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{_GPU}", "1x10"),
            ),
        ),
        Alert(
            name="GpuMemoryFull",
            # vLLM takes a set share and stays below; what grows to the brim is another program or a leak.
            expression="max by (Hostname, gpu)"
            " (DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)) > 0.98",
            wait="10m",
            severity="ticket",
            owner="models",
            summary="The memory of GPU {{ $labels.gpu }} of {{ $labels.Hostname }} is"
            " {{ $value | humanizePercentage }} full",
            dashboard="gpus",
            fires=seen("15m", (f"DCGM_FI_DEV_FB_USED{_GPU}", "79000x20"), (f"DCGM_FI_DEV_FB_FREE{_GPU}", "1000x20")),
            silent=seen("15m", (f"DCGM_FI_DEV_FB_USED{_GPU}", "78000x20"), (f"DCGM_FI_DEV_FB_FREE{_GPU}", "2000x20")),
        ),
        Alert(
            name="GpuUnhealthy",
            expression='kube_node_status_allocatable{resource="nvidia_com_gpu"}'
            ' < max_over_time(kube_node_status_allocatable{resource="nvidia_com_gpu"}[6h])',
            wait="5m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.node }} offers only {{ $value }} GPUs, and offered more in the last 6 hours",
            dashboard="gpus",
            fires=seen("15m", (f"kube_node_status_allocatable{_NODE}", "8x5 7x20")),
            # The device plugin that restarts.
            silent=seen("15m", (f"kube_node_status_allocatable{_NODE}", "8x9 0x4 8x20")),
        ),
    ),
)
