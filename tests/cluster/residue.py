"""What machines could leave on a host."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from tools import cache
from tools.machines.cgroups import ROOT
from tools.machines.folder import FOLDER

DISK = rf"/{FOLDER.parent.name}/{FOLDER.name}/[^/ ]+/data/"
"""A part of every machine's mounts."""


@dataclass(frozen=True)
class Residue:
    links: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    mounts: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    @classmethod
    def now(cls) -> Residue:
        """What there is on this host; of mounts and processes, those that may be a machine's."""
        return cls(
            links=_lines("ip", "-oneline", "link"),
            addresses=_lines("ip", "-oneline", "address"),
            routes=_lines("ip", "route", "show", "table", "all"),
            rules=_lines("ip", "rule"),
            mounts=_mounts(),
            groups=frozenset(
                f"{at}/{name}" for at, names, _ in os.walk(ROOT) for name in names if name.startswith("headrace-")
            ),
            processes=_processes(),
            files=frozenset(str(file) for file in FOLDER.parent.glob("*") if file.name in ("machines", "cluster")),
        )

    def __sub__(self, other: Residue) -> Residue:
        return Residue(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


def _lines(*command: str) -> frozenset[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # A link's statistics and timers change by themselves; its name and what it has do not.
    return frozenset(" ".join(line.split()[:4]) for line in done.stdout.splitlines())


def _mounts() -> frozenset[str]:
    """Not those where other programs keep their own, such as the store of a builder of images."""
    mounted = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    places = (FOLDER.parent, cache.root(), *map(Path, ("/dev", "/proc", "/run", "/sys")))
    return frozenset(point for point in mounted if any(Path(point).is_relative_to(place) for place in places))


def _processes() -> frozenset[str]:
    """Those that work for a machine: in its control groups, called with its folder, or with its disk mounted.

    Not by what they call themselves, which some change all the time.
    """
    own = Path("/proc/self/ns/mnt").readlink()
    found = set()
    for process in psutil.process_iter(["pid", "cmdline", "exe", "create_time"]):
        here = Path(f"/proc/{process.pid}")
        try:
            group = (here / "cgroup").read_text()
            disks = "" if (here / "ns/mnt").readlink() == own else (here / "mountinfo").read_text()
        except OSError:  # it has ended
            continue
        command = " ".join(process.info["cmdline"] or ())
        if "headrace-" in group or str(FOLDER) in command or re.search(DISK, disks):
            found.add(f"{process.pid} {process.info['exe']} since {process.info['create_time']}")
    return frozenset(found)
