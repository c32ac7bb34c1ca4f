"""Starts host processes in sessions that can be found again, and ends exactly their processes.

A process starts in its own session and writes its `/proc/PID/stat` line to its record folder before it executes the
program, so it never runs unrecorded. Since process ids are reused, a process is identified by its id, start time
and boot.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.resources.problem import Problem

# Runs in the new process: writes the record, atomically by `mv`, and then executes the program.
_RECORD_AND_EXEC = 'cat /proc/$$/stat > "$0.new" && mv "$0.new" "$0" && exec "$@"'


@dataclass(frozen=True)
class Stat:
    """Fields of a process's `/proc/PID/stat`."""

    pid: int
    state: str
    session: int
    started: int
    """Start time in clock ticks after boot."""

    @classmethod
    def parse(cls, line: str) -> Stat:
        head, _, tail = line.rpartition(")")
        fields = tail.split()
        return cls(int(head.split()[0]), fields[0], int(fields[3]), int(fields[19]))

    @classmethod
    def read(cls, pid: int) -> Stat | None:
        """Returns the fields of a process; None if it does not exist or has ended as a zombie."""
        try:
            stat = cls.parse(Path(f"/proc/{pid}/stat").read_text())
        except (OSError, ValueError, IndexError):
            return None
        return None if stat.state in "ZX" else stat


def processes() -> Iterator[Stat]:
    """Yields every live process of this host."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := Stat.read(int(entry.name))):
            yield stat


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Session:
    """A recorded session; `folder` contains only its record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stat = folder / "stat"
        self._spec = folder / "spec.json"

    @property
    def spec(self) -> dict[str, str]:
        """Notes from the start; always with `boot` and `fingerprint`."""
        try:
            return dict(json.loads(self._spec.read_text()))
        except (OSError, ValueError):
            return {}

    @property
    def leader(self) -> Stat | None:
        """The leader as recorded at its start, alive or not; None before a start or after a reboot."""
        if self.spec.get("boot") != boot_id():
            return None
        try:
            return Stat.parse(self._stat.read_text())
        except (OSError, ValueError, IndexError):
            return None

    @property
    def alive(self) -> bool:
        """Whether the leader is running."""
        leader = self.leader
        now = leader and Stat.read(leader.pid)
        return bool(leader and now and now.started == leader.started)

    @property
    def id(self) -> str:
        """Identity of the leader, which no other process has; empty without a record."""
        leader = self.leader
        return f"{leader.pid}:{leader.started}" if leader else ""

    def members(self) -> list[Stat]:
        """Returns all live processes of the session, even after its leader has ended."""
        leader = self.leader
        if leader is None:
            return []
        holder = Stat.read(leader.pid)
        if holder is not None and holder.started != leader.started:
            return []  # the kernel reuses the id only when the session has no processes left
        return [p for p in processes() if p.session == leader.pid and p.started >= leader.started]

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        log: Path,
        fingerprint: str,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Starts `argv` in a new session, and appends its output to `log`.

        Raises `Problem` if the program cannot be started.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._stat.unlink(missing_ok=True)
        self._spec.write_text(json.dumps({**(notes or {}), "boot": boot_id(), "fingerprint": fingerprint}))
        if not (found := shutil.which(argv[0], path=env.get("PATH"))):
            raise Problem(f"{argv[0]} is not an executable; run `make tools`, then try again")
        with log.open("ab") as out:
            log.chmod(0o600)
            process = subprocess.Popen(
                ["/bin/sh", "-c", _RECORD_AND_EXEC, str(self._stat), found, *argv[1:]],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while not self._stat.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Problem(f"{argv[0]} did not start; its log is {log}")
            time.sleep(0.01)

    def end(self, patience_s: float = 10) -> None:
        """Ends all processes of the session by SIGTERM, after `patience_s` by SIGKILL, and deletes the record.

        Raises `Problem` with the processes that cannot be ended.
        """
        self._signal(signal.SIGTERM)
        if not self._wait_for_end(patience_s):
            self._signal(signal.SIGKILL)
            if not self._wait_for_end(10):
                left = ", ".join(str(p.pid) for p in self.members())
                raise Problem(f"these processes do not end even after SIGKILL: {left}; inspect them with ps")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        for process in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def _wait_for_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.members():
            _reap()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def _reap() -> None:
    """Reaps ended child processes, so that they do not remain as zombies."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
