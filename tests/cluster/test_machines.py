"""Nested machines: one of the test cluster, and a spare one for these tests."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.residue import Residue
from tests.wait import last
from tools.cluster.layout import WORKERS
from tools.machines import cgroups, host, network
from tools.machines.machine import Machine, Mount, all_machines
from tools.report import ToolError


@pytest.fixture
def spare() -> Iterator[Machine]:
    """A machine that is off; a test fails if it leaves anything behind."""
    host.check()
    machine = Machine("spare", "10.251.0.31")
    yield machine
    machine.wipe()
    if not all_machines():
        network.down()
    assert last(lambda: Residue.of_machine("spare"), lambda left: left == Residue()) == Residue()


def ended(pid: int, seconds: float = 20) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))
    finally:
        os.close(handle)


@pytest.fixture
def worker(cluster: object) -> Machine:
    return WORKERS[0]


def test_a_machine_is_a_separate_host_with_systemd_and_ssh(worker: Machine) -> None:
    assert worker.run(["cat", "/proc/1/comm"]).stdout == "systemd\n"
    assert worker.run(["systemctl", "is-system-running", "--wait"], check=False).stdout == "running\n"
    assert worker.run(["hostname"]).stdout == f"{worker.name}\n"
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "uts"):
        inside = worker.run(["readlink", f"/proc/1/ns/{kind}"]).stdout.strip()
        assert inside != str(Path(f"/proc/self/ns/{kind}").readlink())
    assert "eth0" in worker.run(["ip", "-brief", "link"]).stdout
    mounted = worker.run(["cat", "/proc/mounts"]).stdout
    assert [h.options for h in cgroups.hierarchies(mounted)] == [h.options for h in cgroups.hierarchies()]


def test_a_disk_survives_a_power_cycle_but_not_a_wipe(spare: Machine) -> None:
    spare.up()
    first = spare.pid
    assert first
    spare.up()  # nothing happens to one that runs
    assert spare.pid == first
    identity = spare.run(["cat", "/etc/machine-id"]).stdout
    spare.run(["sh", "-c", "echo kept > /var/lib/file; sync"])
    spare.down()
    assert ended(first, 0)
    assert spare.pid is None
    with pytest.raises(ToolError, match="spare"):
        spare.run(["true"])
    spare.up()
    assert spare.run(["cat", "/var/lib/file"]).stdout == "kept\n"
    assert spare.run(["cat", "/etc/machine-id"]).stdout == identity
    spare.wipe()
    assert not spare.folder.exists()
    spare.up()
    assert spare.run(["sh", "-c", "test -e /var/lib/file || echo gone"]).stdout == "gone\n"


def test_folders_of_the_host_are_mounted_as_declared(spare: Machine, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "fixed").write_text("from the host")
    machine = Machine(
        spare.name,
        spare.ip,
        (
            Mount(str(tmp_path / "shared"), "/mnt/shared"),
            Mount(str(tmp_path / "fixed"), "/opt/fixed", read_only=True),
        ),
    )
    machine.up()
    machine.run(["sh", "-c", "echo from the machine > /mnt/shared/file"])
    assert (tmp_path / "shared/file").read_text() == "from the machine\n"
    assert machine.run(["cat", "/opt/fixed"]).stdout == "from the host"
    with pytest.raises(ToolError, match="Read-only file system"):
        machine.run(["sh", "-c", "echo > /opt/fixed"])
    assert Machine.load("spare") == machine


def test_input_arguments_and_failures_pass_unchanged(worker: Machine) -> None:
    assert worker.run(["cat"], input="a\nb").stdout == "a\nb"
    awkward = 'it\'s $HOME; "quoted" & `cut` \\ * \n last'
    assert worker.run(["printf", "%s", awkward]).stdout == awkward
    assert worker.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    with pytest.raises(ToolError, match=rf"{worker.name}: ls /absent: status 2: ls: cannot access '/absent'"):
        worker.run(["ls", "/absent"])
    with pytest.raises(subprocess.TimeoutExpired):
        worker.run(["sleep", "60"], timeout=1)


def test_a_machine_is_verified_by_its_host_key(spare: Machine, tmp_path: Path) -> None:
    """Another host that answers at the address is refused."""
    spare.up()
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    public = (tmp_path / "key.pub").read_text()
    (spare.folder / "known_hosts").write_text(f"{spare.ip} {public}")
    with pytest.raises(ToolError, match="Host key verification failed"):
        spare.run(["true"])


def test_process_arguments_contain_no_secrets(worker: Machine) -> None:
    commands = "\n".join(" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    assert str(worker.folder) in commands
    assert "PRIVATE KEY" not in commands
    for name in ("boot.json", "ssh_host_ed25519_key"):
        assert (worker.folder / name).stat().st_mode & 0o077 == 0


def test_a_machine_that_died_is_started_again(spare: Machine) -> None:
    spare.up()
    first = spare.pid
    assert first
    os.kill(first, signal.SIGKILL)
    assert ended(first)
    assert spare.pid is None
    spare.up()
    assert spare.pid not in (None, first)


def test_a_machine_without_its_record_can_be_ended(spare: Machine) -> None:
    spare.up()
    pid = spare.pid
    assert pid
    (spare.folder / "machine.json").unlink()
    spare.wipe()
    assert ended(pid, 0)


def test_a_machine_that_cannot_start_reports_why_and_leaves_nothing(spare: Machine) -> None:
    machine = Machine(spare.name, spare.ip, (Mount("/absent/folder", "/mnt/absent"),))
    with pytest.raises(ToolError, match=r"spare did not start: .*console\.log"):
        machine.up()
    assert "/absent/folder" in machine.console.read_text()
    assert machine.pid is None
