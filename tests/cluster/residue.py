"""What machines could leave on a host."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from collections.abc import Mapping
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
            groups=_groups("headrace-*"),
            processes=_processes("headrace-", str(FOLDER), DISK),
            files=frozenset(str(file) for file in FOLDER.parent.glob("*") if file.name in ("machines", "cluster")),
        )

    @classmethod
    def of_machine(cls, name: str) -> Residue:
        """What there is of one machine, beside others that come and go."""
        return cls(
            mounts=frozenset(point for point in _mounts() if Path(point).is_relative_to(FOLDER / name)),
            groups=_groups(f"headrace-{name}"),
            processes=_processes(rf"headrace-{name}(/|$)", str(FOLDER / name), rf"/{FOLDER.name}/{name}/data/"),
            files=frozenset(str(file) for file in FOLDER.glob(name)),
        )

    @classmethod
    def of_lists(cls, lists: Mapping[str, list[str]]) -> Residue:
        """The opposite of `lists`."""
        return cls(**{name: frozenset(found) for name, found in lists.items()})

    def lists(self) -> dict[str, list[str]]:
        """As JSON can hold it."""
        return {field.name: sorted(getattr(self, field.name)) for field in fields(self)}

    def __sub__(self, other: Residue) -> Residue:
        return Residue(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


def _groups(pattern: str) -> frozenset[str]:
    return frozenset(f"{at}/{name}" for at, names, _ in os.walk(ROOT) for name in fnmatch.filter(names, pattern))


def _lines(*command: str) -> frozenset[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # A link's statistics and timers change by themselves; its name and what it has do not.
    return frozenset(" ".join(line.split()[:4]) for line in done.stdout.splitlines())


def _mounts() -> frozenset[str]:
    """Not those where other programs keep their own, such as the store of a builder of images."""
    mounted = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    places = (FOLDER.parent, cache.root(), *map(Path, ("/dev", "/proc", "/run", "/sys")))
    return frozenset(point for point in mounted if any(Path(point).is_relative_to(place) for place in places))


def _processes(group: str, folder: str, disk: str) -> frozenset[str]:
    """Those that work for a machine: in its control groups, called with its folder, or with its disk mounted.

    Not by what they call themselves, which some change all the time.
    """
    own = Path("/proc/self/ns/mnt").readlink()
    found = set()
    for process in psutil.process_iter(["pid", "cmdline", "exe", "create_time"]):
        here = Path(f"/proc/{process.pid}")
        try:
            groups = (here / "cgroup").read_text()
            disks = "" if (here / "ns/mnt").readlink() == own else (here / "mountinfo").read_text()
        except OSError:  # it has ended
            continue
        command = " ".join(process.info["cmdline"] or ())
        if re.search(group, groups, re.MULTILINE) or folder in command or re.search(disk, disks):
            found.add(f"{process.pid} {process.info['exe']} since {process.info['create_time']}")
    return frozenset(found)
