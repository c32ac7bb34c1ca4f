"""A server that tests start: a process on loopback, with a port and a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

UP_S = 60
MEMORY = Path("/dev/shm")
ROOM = 4 << 30
OWNED = r"headrace-(\d+)-\w+"
"""The name of a folder that is removed with the process of this number, and by `tests.sweep` if it was killed."""


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


@contextmanager
def held_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that is nobody else's until the end. Who connects is refused, unless a server of ours listens there."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that sets it too may bind and listen
        one.bind((host, 0))
        yield int(one.getsockname()[1])


class Server:
    """A child process in a folder of its own, which goes with it."""

    def __init__(self, *, large: bool = False) -> None:
        """What is `large` is kept in memory where there is room: it is thrown away, and a disk takes minutes for it."""
        memory = MEMORY if large and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"headrace-{os.getpid()}-", dir=memory))
        self.process: subprocess.Popen[bytes] | None = None
        self._held = ExitStack()

    def _port(self, host: str = "127.0.0.1") -> int:
        """A port of this server, also while it is stopped."""
        return self._held.enter_context(held_port(host))

    def _start(self, command: list[str], **options: object) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)

    def _ready(self, url_ports: list[int], host: str = "127.0.0.1") -> None:
        deadline = time.monotonic() + UP_S
        for port in url_ports:
            while True:
                with socket.socket() as s:
                    if s.connect_ex((host, port)) == 0:
                        break
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{type(self).__name__} did not start:\n{self.log()[-3000:]}")
                time.sleep(0.02)

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        """Closes what a start that fails has begun: nobody else can, since there is no object then."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """Ends the server as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        self.kill()
        self._held.close()
        shutil.rmtree(self.folder, ignore_errors=True)
