"""`python -m tests.sweep`: removes what runs of the tests left that were killed.

Folders carry the process that made them in their name (`OWNED`); what a killed run left is what a dead process
owns. The servers that still run in such a folder are ended, and what is mounted below it is unmounted. pytest notes the
owner of its temporary folders itself, in a file `.lock`. A cluster is left when no test holds its lock.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tests.servers import abandoned_cluster
from tests.servers.process import MEMORY, OWNED
from tools.report import say

ENDS_S = 30


def sweep(*places: Path) -> list[Path]:
    """Removes abandoned folders in these places, and returns them."""
    found = [folder for place in dict.fromkeys(places) for folder in abandoned(place)]
    for folder in found:
        end_processes(folder)
        unmount(folder)
        subprocess.run(["rm", "-rf", "--one-file-system", "--", str(folder)], check=True)
    for folder in (each for place in places for each in _of_pytest(place)):
        unmount(folder)
    return found


def abandoned(place: Path) -> Iterator[Path]:
    """Folders whose owner, a process of their name, is not there any more."""
    for folder in sorted(place.glob("headrace-*")):
        if (match := re.fullmatch(OWNED, folder.name)) and folder.is_dir() and not psutil.pid_exists(int(match[1])):
            yield folder


def _of_pytest(place: Path) -> Iterator[Path]:
    """Temporary folders of pytest's sessions that have ended; it removes them itself some sessions later."""
    for folder in sorted(place.glob("pytest-of-*/pytest-*")):
        lock = folder / ".lock"
        owner = lock.read_text() if lock.is_file() else ""
        if folder.is_dir() and not folder.is_symlink() and not (owner.isdigit() and psutil.pid_exists(int(owner))):
            yield folder


def end_processes(folder: Path) -> None:
    """Ends processes that work in the folder."""
    here = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder):
                here.append(process)
    for process in here:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(here, timeout=ENDS_S)


def unmount(folder: Path) -> None:
    """Unmounts what is mounted below the folder, the innermost first."""
    with suppress(FileNotFoundError):  # not Linux
        lines = Path("/proc/self/mounts").read_text().splitlines()
        below = [Path(line.split()[1].replace("\\040", " ")) for line in lines]
        for mounted in sorted((path for path in below if path.is_relative_to(folder)), reverse=True):
            subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def main() -> int:
    """Sweeps the folders for temporary files, and this host for clusters."""
    for folder in sweep(Path(tempfile.gettempdir()), *([MEMORY] if MEMORY.is_dir() else [])):
        say(f"removed {folder}, which a killed run left")
    if os.geteuid() == 0:  # nobody else makes one
        for folder in list(abandoned_cluster.find()):
            abandoned_cluster.remove(folder)
            say(f"removed the cluster of {folder.parent}, whose tests were killed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
