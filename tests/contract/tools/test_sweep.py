"""tests.sweep: what a killed run left is removed, and what is in use stays."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.session import KEPT
from tests.servers.abandoned_cluster import find, remove
from tests.servers.postgres import Postgres
from tests.sweep import sweep
from tools.machines import cgroups
from tools.machines.network import make_namespace

ROOT = Path(__file__).parents[3]
LINK = f"hrs{os.getpid()}"
DEAD = 2**22 + 1
"""No process has this number: Linux counts to 2**22."""

POSTGRES = """
import sys, time
from tests.servers.postgres import Postgres
postgres = Postgres()
print(postgres.folder, postgres.process.pid, flush=True)
time.sleep(3600)
"""


@pytest.fixture
def killed() -> Iterator[tuple[Path, psutil.Process]]:
    """The folder of a PostgreSQL whose test was killed, and its server, which runs on."""
    with subprocess.Popen([sys.executable, "-c", POSTGRES], cwd=ROOT, stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout
        folder, pid = test.stdout.readline().split()
        test.send_signal(signal.SIGKILL)
    server = psutil.Process(int(pid))
    yield Path(folder), server
    if server.is_running():
        server.kill()


def test_a_server_of_a_killed_test_is_ended_and_its_folder_removed(killed: tuple[Path, psutil.Process]) -> None:
    folder, server = killed
    assert server.is_running()
    assert folder in sweep(folder.parent)
    assert not folder.exists()
    until = time.monotonic() + 60
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the server runs on"
        time.sleep(0.05)


def test_what_is_in_use_stays(postgres: Postgres) -> None:
    assert postgres.folder not in sweep(postgres.folder.parent)
    assert postgres.sql("SELECT 1") == [(1,)]


def test_only_folders_of_ours_are_removed(tmp_path: Path) -> None:
    names = [
        f"headrace-{os.getpid()}-abc",
        f"headrace-{DEAD}-abc",
        f"headrace-{DEAD}",
        f"other-{DEAD}-abc",
        "headrace-x-y",
    ]
    for name in names:
        (tmp_path / name / "below").mkdir(parents=True)
    (tmp_path / f"headrace-{DEAD}-file").touch()
    assert sweep(tmp_path) == [tmp_path / names[1]]
    assert {path.name for path in tmp_path.iterdir()} == {*names, f"headrace-{DEAD}-file"} - {names[1]}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize(
    ("folder", "owner", "unmounted"),
    [
        (f"headrace-{DEAD}-abc", None, True),
        ("pytest-of-root/pytest-7", str(DEAD), True),
        ("pytest-of-root/pytest-7", None, True),
        ("pytest-of-root/pytest-7", str(os.getpid()), False),
    ],
    ids=["a server's", "a dead session's", "nobody's", "a session's that runs"],
)
def test_disks_of_killed_tests_are_unmounted(folder: str, owner: str | None, unmounted: bool, tmp_path: Path) -> None:
    disk = tmp_path / folder / "test0/disk"
    disk.mkdir(parents=True)
    if owner:
        (tmp_path / folder / ".lock").write_text(owner)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=True)
    try:
        sweep(tmp_path)
        assert os.path.ismount(disk) is not unmounted
    finally:
        if os.path.ismount(disk):
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Path]:
    """A folder of machines: a namespace with a link to the host, as the network of machines has one."""
    folder = tmp_path / ".headrace"
    network = folder / "machines/network"
    network.parent.mkdir(parents=True)
    (folder / "cluster").mkdir()
    (folder / "cluster-users").touch()
    make_namespace(network)
    subprocess.run(["ip", "link", "add", LINK, "type", "veth", "peer", "name", "host", "netns", network], check=True)
    yield folder
    if os.path.ismount(network):
        subprocess.run(["ip", "link", "delete", LINK], check=True)
        subprocess.run(["umount", str(network)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has machines")
@pytest.mark.parametrize("record", ["before.json", None], ids=["made", "half made"])
def test_a_cluster_of_killed_tests_is_removed_with_its_machines(record: str | None, cluster: Path) -> None:
    if record:
        (cluster / "cluster" / record).write_text('["a dead session", {}, {}]')
        (cluster / "cluster/kubeconfig").touch()
    machine = f"sweep{os.getpid()}"
    group = f"headrace-{machine}"
    (cluster / "machines" / machine).mkdir()
    make_namespace(cluster / "machines" / machine / "network")
    cgroups.create(group)
    with subprocess.Popen(["sleep", "3600"], preexec_fn=lambda: cgroups.join(group)) as process:
        assert cluster in find()
        remove(cluster)
        process.wait(60)  # of an hour
    assert not any((hierarchy.folder / group).exists() for hierarchy in cgroups.hierarchies())
    assert LINK not in psutil.net_if_addrs()
    assert list(cluster.iterdir()) == []
    assert cluster not in find()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has machines")
@pytest.mark.parametrize("kept_by", ["a test", "somebody who starts or ends it", "hand", "request"])
def test_a_cluster_that_somebody_wants_stays(kept_by: str, cluster: Path) -> None:
    locks = {"a test": cluster / "cluster-users", "somebody who starts or ends it": cluster / "cluster/lock"}
    with locks.get(kept_by, cluster / "other").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        match kept_by:
            case "hand":
                (cluster / "cluster/kubeconfig").touch()
            case "request":
                (cluster / "cluster/before.json").write_text(f'["{KEPT}", {{}}, {{}}]')
        assert cluster not in find()
