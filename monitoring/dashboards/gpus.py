"""The dashboard of GPUs, from NVIDIA's DCGM exporter."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target, Variable
from monitoring.dashboards.query import largest, or_zero, quotient, rate, series, total

GPU = 'gpu=~"$gpu"'
BY = "Hostname,gpu"
LEGEND = "{{Hostname}} GPU {{gpu}}"


def dashboard() -> Dashboard:
    """Returns the dashboard: work, memory and health of each GPU that has the exporter."""
    return Dashboard(
        "gpus",
        "Headrace / GPUs",
        "Work, memory and health of each GPU, from NVIDIA's DCGM exporter of the stack or of the GPU operator.",
        variables=(Variable("gpu", "GPU", series("DCGM_FI_DEV_GPU_UTIL"), "gpu"),),
        rows=(Row("Work", _work()), Row("Memory", _memory()), Row("Health", _health())),
    )


def _work() -> tuple[Panel, ...]:
    watts = total("DCGM_FI_DEV_POWER_USAGE")
    return (
        Panel(
            "GPU utilisation",
            "Share of time in which at least one kernel ran. It does not tell how much of the GPU the kernel used.",
            "percent",
            (Target(largest("DCGM_FI_DEV_GPU_UTIL", BY, GPU), LEGEND),),
        ),
        Panel(
            "Tensor cores active",
            "Share of cycles in which tensor cores were active: the best measure of a model's useful work. "
            "Empty if the exporter collects no profiling metrics.",
            "ratio",
            (Target(largest("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", BY, GPU), LEGEND),),
        ),
        Panel(
            "Tokens per joule",
            "Tokens written by all models per joule used by all GPUs.",
            "1",
            (Target(quotient(rate("headrace_completion_tokens_total"), watts), "tokens"),),
        ),
    )


def _memory() -> tuple[Panel, ...]:
    used, free = (largest(f"DCGM_FI_DEV_FB_{part}", BY, GPU) for part in ("USED", "FREE"))
    return (
        Panel(
            "Memory used",
            "GPU memory in use. vLLM allocates its share at the start and keeps it.",
            "megabytes",
            (Target(used, LEGEND),),
            width=12,
        ),
        Panel(
            "Share of memory used",
            "GPU memory in use as a share of the total.",
            "ratio",
            (Target(quotient(used, f"({used}+{free})"), LEGEND),),
            steps=(Step(0.95, "yellow"), Step(0.99, "red")),
            width=12,
        ),
    )


def _health() -> tuple[Panel, ...]:
    rows = largest("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", BY, GPU)
    return (
        Panel(
            "Temperature",
            "Temperature of the GPU. The GPU slows down above its limit.",
            "celsius",
            (Target(largest("DCGM_FI_DEV_GPU_TEMP", BY, GPU), LEGEND),),
            steps=(Step(80, "yellow"), Step(90, "red")),
            width=6,
        ),
        Panel(
            "Memory temperature",
            "Temperature of the GPU's memory. It gets hotter than the GPU itself.",
            "celsius",
            (Target(largest("DCGM_FI_DEV_MEMORY_TEMP", BY, GPU), LEGEND),),
            steps=(Step(90, "yellow"), Step(95, "red")),
            width=6,
        ),
        Panel(
            "Power",
            "Power draw of the GPU. The GPU slows down at its limit.",
            "watts",
            (Target(largest("DCGM_FI_DEV_POWER_USAGE", BY, GPU), LEGEND),),
            width=6,
        ),
        Panel(
            "Last XID error",
            "Number of the last error that the driver reported; 0 is none. NVIDIA documents the numbers.",
            "1",
            (Target(series("DCGM_FI_DEV_XID_ERRORS", GPU), LEGEND),),
            "table",
            (Step(1, "red"),),
            width=6,
        ),
        Panel(
            "GPUs seen",
            "GPUs that report metrics. A GPU that fell off the bus is missing here first.",
            "1",
            (Target(or_zero(f"count({series('DCGM_FI_DEV_GPU_UTIL', GPU)})"), "GPUs"),),
            "stat",
            width=6,
        ),
        Panel(
            "Memory rows remapped",
            "Rows that were remapped after uncorrectable errors. A GPU has few spare rows.",
            "1",
            (Target(rows, LEGEND),),
            steps=(Step(1, "yellow"),),
            width=6,
        ),
        Panel(
            "Memory row remapping failures",
            "1 for a GPU that has no spare rows left: it must be replaced.",
            "1",
            (Target(largest("DCGM_FI_DEV_ROW_REMAP_FAILURE", BY, GPU), LEGEND),),
            steps=(Step(1, "red"),),
            width=6,
        ),
        Panel(
            "Allocatable GPUs",
            "GPUs of each node that Kubernetes can allocate, unhealthy ones excluded.",
            "1",
            (Target(largest("kube_node_status_allocatable", "node", 'resource="nvidia_com_gpu"'), "{{node}}"),),
            width=6,
        ),
    )
