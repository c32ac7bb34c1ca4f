"""tests.sweep: what a killed run left is removed, and what is in use stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers.postgres import Postgres
from tests.sweep import sweep

ROOT = Path(__file__).parents[3]
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
