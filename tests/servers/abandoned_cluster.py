"""Clusters that tests made, in any checkout on this host, and that nobody uses any more since their run was killed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tests.cluster.session import KEPT, USERS
from tools.cluster.layout import BEFORE, KUBECONFIG
from tools.cluster.layout import FOLDER as CLUSTER
from tools.machines import cgroups
from tools.machines.folder import FOLDER as MACHINES
from tools.machines.network import NAMESPACE

ENDS_S = 30


def find() -> Iterator[Path]:
    """Yields the folders `.headrace` whose machines have a network but no user; a cluster made by hand is no test's."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except FileNotFoundError:  # not Linux
        return
    for point in (Path(line.split()[1].replace("\\040", " ")) for line in mounts):
        folder = point.parent.parent
        if (
            point == folder / MACHINES.name / NAMESPACE.name
            and folder.name == MACHINES.parent.name
            and _is_left(folder)
        ):
            yield folder


def _is_left(folder: Path) -> bool:
    if _held(folder / USERS.name) or _held(folder / CLUSTER.name / "lock"):
        return False
    try:
        return json.loads((folder / CLUSTER.name / BEFORE.name).read_text())[0] != KEPT
    except FileNotFoundError:  # killed before the record, or made by hand, which ends with a kubeconfig
        return not (folder / CLUSTER.name / KUBECONFIG.name).exists()


def _held(lock: Path) -> bool:
    with suppress(FileNotFoundError), lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def remove(folder: Path) -> None:
    """Ends the machines, and removes their network, control groups and files."""
    machines = folder / MACHINES.name
    namespaces = sorted(machines.glob(f"*/{NAMESPACE.name}"))
    for namespace in namespaces:
        _end(f"headrace-{namespace.parent.name}")
    if os.path.ismount(network := machines / NAMESPACE.name):
        # The link into the host's namespace goes with its other end; without a link there is nothing to delete.
        subprocess.run(["nsenter", f"--net={network}", "ip", "link", "delete", "host"], capture_output=True)
        namespaces.append(network)
    for namespace in namespaces:
        if os.path.ismount(namespace):
            subprocess.run(["umount", str(namespace)], check=True)
    left = [str(path) for path in (machines, folder / CLUSTER.name, folder / USERS.name)]
    subprocess.run(["rm", "-rf", "--one-file-system", "--", *left], check=True)


def _end(group: str) -> None:
    """Kills what runs in a machine's control groups, and removes these."""
    until = time.monotonic() + ENDS_S
    while (running := cgroups.processes(group)) and time.monotonic() < until:
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid) for pid in running if psutil.pid_exists(pid)], timeout=1)
    cgroups.remove(group)
