"""A PostgreSQL server for tests: Debian's, which the machines of CI have."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.servers.process import UP_S, Server

if TYPE_CHECKING:
    import psycopg

NOBODY = 65534
"""The user that runs the server where tests run as root."""


class Postgres(Server):
    """A PostgreSQL server with one user, `headrace`, who may do everything and has a password."""

    user = "headrace"
    password = "river-bank"

    def __init__(self, address: str = "127.0.0.1") -> None:
        """`address`: where others reach it; this host does on loopback in any case."""
        super().__init__(large=True)
        self.address = address
        self.port = self._port()
        self._databases = 0
        self._connection: psycopg.Connection[Any] | None = None
        programs = _postgres_programs()
        # The server refuses to run as root.
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:
            self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(self.folder, NOBODY, NOBODY)
        self._programs = programs
        self._chooses = int(programs.parts[-2]) >= 15  # how a database is copied
        (self.folder / "password").write_text(self.password)
        (self.folder / "password").chmod(0o644)
        command = [programs / "initdb", "-D", self.folder / "data", "-U", self.user, "-A", "scram-sha-256"]
        command += ["--pwfile", self.folder / "password", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, **self._as)
        with (self.folder / "data/pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
        self.start()

    def start(self, **settings: object) -> None:
        """Starts (or restarts) the server, with further settings if any."""
        wanted = {
            "listen_addresses": ",".join(dict.fromkeys(("127.0.0.1", self.address))),
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 60,
            "shared_buffers": "16MB",
            **settings,
        }
        options = [part for name, value in wanted.items() for part in ("-c", f"{name}={value}")]
        self._start([str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options], **self._as)
        deadline = time.monotonic() + UP_S
        while not self._answers():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server at once, but in order (`SIGINT`: clients are cut off)."""
        assert self.process is not None
        self.process.send_signal(2)
        self.process.wait()

    def kill(self) -> None:
        """Ends the server as a power cut would: all of its processes, which share a group of their own."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(3)  # "immediate": no checkpoint, recovery at the next start
            self.process.wait()

    def crash(self) -> None:
        """Ends all of the server's processes by SIGKILL: the first one first, which would start others again."""
        assert self.process is not None
        first = psutil.Process(self.process.pid)
        first.suspend()  # it starts no other meanwhile
        others = first.children(recursive=True)
        self.process.kill()
        self.process.wait()
        for process in others:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(others, timeout=UP_S)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Runs one statement outside of any transaction."""
        import psycopg

        with psycopg.connect(self._dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str = "") -> str:
        """Makes an empty database, or a copy of another to which nobody is connected; returns its URL, no password."""
        import psycopg

        self._databases += 1
        name = f"test{self._databases}"
        # A copy of the files takes half the time of one that goes through the log, and nothing waits for a disk.
        strategy = "STRATEGY file_copy" if self._chooses else ""
        made = f"CREATE DATABASE {name} TEMPLATE {template or 'template1'} {strategy}"
        if self._connection is not None:
            try:
                self._connection.execute(made)  # type: ignore[call-overload]
                return self.url(name)
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
                # The server has started again.
        self._connection = psycopg.connect(self._dsn("postgres"), autocommit=True)
        self._connection.execute(made)  # type: ignore[call-overload]
        return self.url(name)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        super().close()

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@{self.address}:{self.port}/{database}"

    def _dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={self.user} password={self.password} dbname={database}"

    def _answers(self) -> bool:
        import psycopg

        try:
            self.sql("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _postgres_programs() -> Path:
    """Returns the folder of the newest PostgreSQL that this machine has, as Debian's packages lay it out."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if not installed:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    return installed[-1].parent
