"""GPU metrics of dcgm-exporter: `etc/default-counters.csv` and `etc/dcp-metrics-included.csv`."""

from __future__ import annotations

from monitoring.external.program import program

DCGM = (
    "gpu",
    "UUID",
    "pci_bus_id",
    "device",
    "modelName",
    "GPU_I_PROFILE",
    "GPU_I_ID",
    "Hostname",
    "DCGM_FI_DRIVER_VERSION",
)

SERIES = program(
    "dcgm",
    counters={
        DCGM: (
            ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "Energy used since the driver started, in mJ."),
            ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "Retries on the PCIe bus."),
            (
                "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
                "Rows of memory that were remapped after uncorrectable errors.",
            ),
        ),
    },
    gauges={
        DCGM: (
            ("DCGM_FI_DEV_GPU_UTIL", "Time that the GPU was busy, 0 to 100."),
            ("DCGM_FI_DEV_MEM_COPY_UTIL", "Time that the memory was busy, 0 to 100."),
            ("DCGM_FI_DEV_GPU_TEMP", "Temperature of the GPU."),
            ("DCGM_FI_DEV_MEMORY_TEMP", "Temperature of the memory."),
            ("DCGM_FI_DEV_POWER_USAGE", "Power draw of the GPU."),
            ("DCGM_FI_DEV_SM_CLOCK", "Clock of the multiprocessors."),
            ("DCGM_FI_DEV_FB_USED", "Memory in use, in MiB."),
            ("DCGM_FI_DEV_FB_FREE", "Memory free, in MiB."),
            ("DCGM_FI_DEV_XID_ERRORS", "The last XID error."),
            ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "1 if the remapping of a row has failed."),
            ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "Time that the graphics engine was busy, 0 to 1."),
            ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "Cycles that the tensor pipe was busy, 0 to 1."),
            ("DCGM_FI_PROF_DRAM_ACTIVE", "Cycles that the memory moved data, 0 to 1."),
        ),
    },
    units={
        "DCGM_FI_DEV_GPU_TEMP": "celsius",
        "DCGM_FI_DEV_MEMORY_TEMP": "celsius",
        "DCGM_FI_DEV_POWER_USAGE": "watts",
        "DCGM_FI_DEV_SM_CLOCK": "megahertz",
        "DCGM_FI_DEV_FB_USED": "megabytes",
        "DCGM_FI_DEV_FB_FREE": "megabytes",
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "millijoules",
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": "ratio",
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": "ratio",
        "DCGM_FI_PROF_DRAM_ACTIVE": "ratio",
    },
)
