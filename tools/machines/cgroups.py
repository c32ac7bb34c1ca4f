"""The control groups of a machine: one in every hierarchy of the host, version 1 or 2."""

import contextlib
import errno
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Hierarchy:
    """A mounted hierarchy; `options` are those for mounting it again, empty for version 2."""

    folder: Path
    options: str

    @property
    def is_v2(self) -> bool:
        return not self.options


def hierarchies(mounts: str | None = None) -> list[Hierarchy]:
    """Returns every hierarchy below /sys/fs/cgroup; `mounts` is the text of /proc/self/mounts."""
    found = []
    for line in (Path("/proc/self/mounts").read_text() if mounts is None else mounts).splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2" and Path(folder).is_relative_to(ROOT):
            found.append(Hierarchy(Path(folder), ""))
        elif kind == "cgroup" and Path(folder).is_relative_to(ROOT):
            chosen = [o for o in options.split(",") if o not in _GENERIC and not o.startswith("release_agent=")]
            named = any(option.startswith("name=") for option in chosen)
            found.append(Hierarchy(Path(folder), ",".join(["none", *chosen] if named else chosen)))
    return found


_GENERIC = {"rw", "ro", "relatime", "noatime", "nosuid", "nodev", "noexec", "xattr", "clone_children", "seclabel"}


_ENDED_S = 60.0

# Ten times the defaults of version 1 and 2: a busy host must not starve a machine, which is one group to it.
_WEIGHTS = {"cpu.shares": "10240", "cpu.weight": "1000"}


def create(name: str) -> None:
    """Creates the group in every hierarchy."""
    for hierarchy in hierarchies():
        group = hierarchy.folder / name
        if hierarchy.is_v2:
            for controller in (hierarchy.folder / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):  # some kernels refuse some of them, such as cpu with real-time tasks
                    (hierarchy.folder / "cgroup.subtree_control").write_text(f"+{controller}")
        group.mkdir(exist_ok=True)
        for file, weight in _WEIGHTS.items():
            if (group / file).exists():
                (group / file).write_text(weight)
        for file in ("cpuset.cpus", "cpuset.mems"):  # version 1 accepts no processes before these are set
            if not hierarchy.is_v2 and (group / file).exists():
                (group / file).write_text((hierarchy.folder / file).read_text())


def join(name: str) -> None:
    """Moves the calling process into the group, in every hierarchy."""
    for hierarchy in hierarchies():
        (hierarchy.folder / name / "cgroup.procs").write_text("0")


def processes(name: str) -> set[int]:
    """Returns the processes in the group and the groups below it."""
    found: set[int] = set()
    for group in _groups(name):
        with contextlib.suppress(OSError):  # the group was just removed, or is threaded
            found.update(map(int, (group / "cgroup.procs").read_text().split()))
    return found - {0}


def remove(name: str) -> None:
    """Removes the group, whose processes have ended, and the groups below it.

    The kernel counts a process to its group until it has been waited for, which init does with a dead parent's.
    """
    until = time.monotonic() + _ENDED_S
    for group in _groups(name):
        while True:
            try:
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > until:
                    raise
                time.sleep(0.05)


def _groups(name: str) -> Iterator[Path]:
    """Yields the group's folders, the innermost first."""
    for hierarchy in hierarchies():
        group = hierarchy.folder / name
        if group.is_dir():
            yield from sorted((f for f in group.rglob("*") if f.is_dir()), key=lambda f: len(f.parts), reverse=True)
            yield group
