"""Machine types of clouds, whose catalogues are in `infra/targets/<cloud>/machines.py`.

They have only x86 machines, like the stack's images, and only whole GPUs.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
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


def machine_types(cloud: Cloud) -> Sequence[MachineType]:
    """Returns the catalogue of a cloud, which is in its folder."""
    found: Sequence[MachineType] = importlib.import_module(f"infra.targets.{cloud}.machines").MACHINES
    return found


def default_machine_type(cloud: Cloud) -> str:
    """Returns the machine type of a pool without GPUs that names none."""
    name: str = importlib.import_module(f"infra.targets.{cloud}.machines").DEFAULT
    return name


def machine_type(cloud: Cloud, name: str) -> MachineType | None:
    """Returns the machine type with a name; None if it is not in the catalogue."""
    return next((m for m in machine_types(cloud) if m.name == name), None)


def smallest_machine_type(cloud: Cloud, accelerator: str, gpus: int) -> MachineType | None:
    """Returns the smallest machine type with exactly these GPUs; None if the catalogue has none."""
    fitting = [
        m
        for m in machine_types(cloud)
        if m.accelerator == accelerator
        and (m.gpus == gpus or (m.attachable and gpus <= m.gpus and not gpus & (gpus - 1)))
    ]
    return min(fitting, key=lambda m: (m.vcpus, m.memory_gib), default=None)
