"""A nested machine: start, SSH, power-off and removal."""

import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.layout import CHECKOUT
from tools.machines import cgroups, network
from tools.machines.folder import FOLDER, locked
from tools.machines.root import debian_root
from tools.report import ToolError

KEY = FOLDER / "id_ed25519"
BOOT_S = 120.0
POWEROFF_S = 20.0

# Folders in which the machine itself mounts overlay file systems, which the kernel refuses on top of an overlay.
_DATA = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd")


@dataclass(frozen=True)
class Mount:
    """A folder or file of the host that is mounted in the machine at `target`."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Machine:
    """A machine with a name and an address in the machines' network (`network.SUBNET`)."""

    name: str
    ip: str
    mounts: tuple[Mount, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,13}[a-z0-9]", self.name):
            raise ToolError(f"'{self.name}' is not a valid machine name: 2 to 15 of a-z, 0-9 and '-'")

    @classmethod
    def load(cls, name: str) -> "Machine":
        """Returns a machine that was started before.

        Raises:
            ToolError: there is no such machine.
        """
        record = cls(name, "")._record
        if not record:
            raise ToolError(f"there is no machine '{name}'")
        return cls(name, record["ip"], tuple(Mount(**mount) for mount in record["mounts"]))

    @property
    def folder(self) -> Path:
        """The machine's disk and records, on the host."""
        return FOLDER / self.name

    @property
    def console(self) -> Path:
        """The output of its start."""
        return self.folder / "console.log"

    @property
    def ssh(self) -> tuple[str, ...]:
        """The SSH command that logs in as root."""
        options = (
            *("BatchMode=yes", "ConnectTimeout=5", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes"),
            *(f"UserKnownHostsFile={self.folder / 'known_hosts'}", "LogLevel=ERROR"),
        )
        return ("ssh", "-F", "none", "-i", str(KEY), *(f"-o{option}" for option in options), f"root@{self.ip}")

    @property
    def pid(self) -> int | None:
        """The process id of the machine's systemd on the host; None while it is off."""
        record = self._record
        with suppress(psutil.NoSuchProcess, KeyError):
            process = psutil.Process(record["pid"])
            if process.create_time() == record["started"] and process.status() != psutil.STATUS_ZOMBIE:
                return process.pid
        return None

    def run(
        self, command: Sequence[str], *, input: str | None = None, check: bool = True, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command over SSH, as root.

        Raises:
            ToolError: it failed, and `check` is set; the text contains its last lines.
            subprocess.TimeoutExpired: it took more than `timeout` seconds.
        """
        done = subprocess.run(
            [*self.ssh, shlex.join(command)],
            stdin=subprocess.DEVNULL if input is None else None,
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
            raise ToolError(f"{self.name}: {shlex.join(command)[:200]}: status {done.returncode}: {' | '.join(said)}")
        return done

    def up(self) -> None:
        """Starts the machine, unless it is running, and returns when it answers over SSH.

        Raises:
            ToolError: it did not start.
        """
        if self.pid is not None:
            return
        base = debian_root()
        network.up()
        self._clear()
        for name in ("upper", "work", "root", "data"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        network.attach(self.name, self.ip, self._namespace)
        cgroups.create(self._cgroup)
        self._boot(base)
        self._wait_for_ssh()

    def down(self) -> None:
        """Shuts it down, as its power button would; its disk is kept."""
        if (pid := self.pid) is not None:
            _signal(pid, signal.SIGRTMIN + 3)
            _wait_for_end(pid, POWEROFF_S)
        self._clear()

    def wipe(self) -> None:
        """Kills it and deletes its disk."""
        self._clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _clear(self) -> None:
        """Removes what is left of it: processes, links, namespaces and control groups."""
        if (pid := self.pid) is not None:
            _signal(pid, signal.SIGKILL)
            _wait_for_end(pid, POWEROFF_S)
        for orphan in cgroups.processes(self._cgroup):  # its systemd ended before it was recorded
            _signal(orphan, signal.SIGKILL)
            _wait_for_end(orphan, POWEROFF_S)
        network.detach(self.name, self._namespace)
        cgroups.remove(self._cgroup)

    def _boot(self, base: Path) -> None:
        receive, ready = os.pipe()
        spec = {
            "name": self.name,
            "folder": str(self.folder),
            "base": str(base),
            "cgroup": self._cgroup,
            "mounts": [asdict(mount) for mount in (*self._data(), *self.mounts)],
            "files": self._files(),
        }
        file = self.folder / "boot.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(spec))
        command = ["setsid", "--fork", "nsenter", f"--net={self._namespace}"]
        command += ["unshare", "--fork", "--propagation=private", "--mount", "--uts", "--ipc", "--pid"]
        command += [sys.executable, "-m", "tools.machines.boot", str(file), str(ready)]
        with self.console.open("w") as console, os.fdopen(receive) as answer:
            try:
                subprocess.run(
                    command,
                    cwd=CHECKOUT,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    pass_fds=[ready],
                    check=True,
                )
            finally:
                os.close(ready)
            pid = answer.readline().strip()  # empty if its writers have exited
        if not pid:
            raise self._failure("did not start")
        started = psutil.Process(int(pid)).create_time()
        mounts = [asdict(mount) for mount in self.mounts]
        new = self._record_file.with_suffix(".new")
        new.write_text(json.dumps({"ip": self.ip, "mounts": mounts, "pid": int(pid), "started": started}))
        new.replace(self._record_file)

    def _wait_for_ssh(self) -> None:
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline and self.pid is not None:
            with suppress(OSError), socket.create_connection((self.ip, 22), timeout=1):
                if self.run(["true"], check=False).returncode == 0:
                    return
            time.sleep(0.05)
        raise self._failure(f"does not answer on {self.ip}:22")

    def _failure(self, what: str) -> ToolError:
        said = self.console.read_text(errors="replace").strip().splitlines()[-3:]
        return ToolError(f"{self.name} {what}: {' | '.join(said)} (all of it: {self.console})")

    def _data(self) -> list[Mount]:
        mounts = []
        for target in _DATA:
            source = self.folder / "data" / Path(target).name
            source.mkdir(exist_ok=True)
            mounts.append(Mount(str(source), target))
        return mounts

    def _files(self) -> dict[str, dict[str, Any]]:
        """Returns the files in which this machine differs from the common root."""
        with locked():
            if not KEY.exists():
                _make_key(KEY)
        host_key = self.folder / "ssh_host_ed25519_key"
        if not host_key.exists():
            _make_key(host_key)
            public = host_key.with_suffix(".pub").read_text()
            (self.folder / "known_hosts").write_text(f"{self.ip} {public}")
        identity = self.folder / "machine-id"
        if not identity.exists():
            identity.write_text(f"{uuid.uuid4().hex}\n")
        return {
            "/etc/hostname": _file(f"{self.name}\n"),
            "/etc/hosts": _file(f"127.0.0.1 localhost\n{self.ip} {self.name}\n"),
            "/etc/resolv.conf": _file(f"nameserver {network.HOST}\n"),
            "/etc/machine-id": _file(identity.read_text()),
            "/etc/ssh/ssh_host_ed25519_key": _file(host_key.read_text(), 0o600),
            "/etc/ssh/ssh_host_ed25519_key.pub": _file(host_key.with_suffix(".pub").read_text()),
            "/root/.ssh/authorized_keys": _file(KEY.with_suffix(".pub").read_text(), 0o600),
        }

    @property
    def _namespace(self) -> Path:
        return self.folder / "network"

    @property
    def _cgroup(self) -> str:
        return f"headrace-{self.name}"

    @property
    def _record_file(self) -> Path:
        return self.folder / "machine.json"

    @property
    def _record(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._record_file.read_text()))
        except FileNotFoundError:
            return {}


def all_machines() -> list[Machine]:
    """Returns every machine of this checkout, on or off."""
    return [Machine.load(file.parent.name) for file in sorted(FOLDER.glob("*/machine.json"))]


def _file(content: str, mode: int = 0o644) -> dict[str, Any]:
    return {"content": content, "mode": mode}


def _make_key(file: Path) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-C", "headrace", "-f", str(file)], check=True)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_for_end(pid: int, seconds: float) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        waiting = select.poll()  # select() itself takes no descriptor above 1023
        waiting.register(handle, select.POLLIN)
        waiting.poll(seconds * 1000)
    finally:
        os.close(handle)
