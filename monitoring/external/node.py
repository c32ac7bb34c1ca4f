"""Metrics of node exporter."""

from __future__ import annotations

from monitoring.external.program import program

FILESYSTEM = ("device", "mountpoint", "fstype", "device_error")

SERIES = program(
    "node",
    counters={("cpu", "mode"): (("node_cpu_seconds_total", "Time that a CPU spent in a mode."),)},
    gauges={
        FILESYSTEM: (
            ("node_filesystem_avail_bytes", "Free space on a filesystem."),
            ("node_filesystem_size_bytes", "Size of a filesystem."),
            ("node_filesystem_readonly", "1 for a filesystem that is read-only."),
        ),
        (): (
            ("node_memory_MemAvailable_bytes", "Available memory."),
            ("node_memory_MemTotal_bytes", "Total memory of the node."),
            ("node_load1", "Load average over one minute."),
        ),
    },
)
