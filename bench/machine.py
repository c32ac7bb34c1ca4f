"""Facts about the machine on which figures are measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil


def facts(packages: dict[str, str] | None = None) -> dict[str, Any]:
    """Returns the machine's facts and package versions; `packages` adds versions from other environments."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "load_1m_before": load(),
        "versions": {name: importlib.metadata.version(name) for name in ("ray", "xllamacpp", "uvloop")}
        | {"headrace": _commit()}
        | (packages or {}),
    }


def load() -> float:
    """Returns the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return described.stdout.strip() or "unknown"
