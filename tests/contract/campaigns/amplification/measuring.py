"""What a platform's process has stored, computed, queued and logged, and what it was sent."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal, get_args

import httpx
import psutil

import serving
from tests.contract.campaigns.engine import Engine
from tests.contract.running import Loop, engine
from tests.servers.pooling import PoolingEngine
from tests.wait import eventually

GUARD_S = 3600

Measure = Literal["stored bytes", "processor seconds", "jobs", "log bytes", "log lines"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

NOT_STORED = ("h.db", "log", "stderr", "metrics", "url", "hash", "key", "previous", "base.gguf")
"""What is in the folder beside the platform's data; the database is read as its pages that are in use."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Totals since the process began, or what came to them."""

    requests: int
    sent: int
    """Bytes of requests, with their heads."""
    stored: float
    """Bytes of the database's pages in use, and of files."""
    seconds: float
    """Of processors, of the process and all of its children."""
    jobs: float
    log_bytes: float
    log_lines: float

    def __sub__(self, before: Amounts) -> Amounts:
        return Amounts(*(now - then for now, then in zip(astuple(self), astuple(before), strict=True)))

    def of(self, measure: Measure) -> float:
        """Returns the amount of a measure."""
        return float(astuple(self)[2 + MEASURES.index(measure)])


class Platform:
    """A running platform, and a client with its first key, whose requests are counted."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._folder = folder
        self._process = psutil.Process(process.pid)
        self._requests = self._sent = 0
        self.http = self.client((folder / "key").read_text())

    def client(self, key: str) -> httpx.Client:
        """A client with a key, whose requests are counted too."""
        return httpx.Client(
            base_url=(self._folder / "url").read_text(),
            headers={"Authorization": f"Bearer {key}"},
            timeout=GUARD_S,
            trust_env=False,
            event_hooks={"request": [self._count]},
        )

    def _count(self, request: httpx.Request) -> None:
        head = sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
        self._requests += 1
        self._sent += len(request.method) + len(request.url.raw_path) + 12 + head + len(request.read())

    def amounts(self) -> Amounts:
        """Returns the totals once nothing is under way: no job is due, and nothing more is stored."""
        eventually(lambda: self._query("SELECT count(*) FROM jobs WHERE " + DUE) == 0, "the jobs end", GUARD_S, 0.5)
        log = (self._folder / "log").read_bytes() if (self._folder / "log").exists() else b""
        return Amounts(
            self._requests,
            self._sent,
            self._stored(),
            self._seconds(),
            self._query("SELECT coalesce(max(seq), 0) FROM jobs"),
            len(log),
            log.count(b"\n"),
        )

    def _query(self, sql: str) -> int:
        with closing(sqlite3.connect(f"file:{self._folder / 'h.db'}?mode=ro", uri=True, timeout=GUARD_S)) as connection:
            return int(connection.execute(sql).fetchone()[0])

    def _stored(self) -> int:
        pages = self._query("PRAGMA page_count") - self._query("PRAGMA freelist_count")
        total = pages * self._query("PRAGMA page_size")
        for path in self._folder.rglob("*"):
            if path.relative_to(self._folder).parts[0].split("-")[0] not in NOT_STORED:
                with suppress(FileNotFoundError):  # a temporary one
                    total += path.stat().st_size if path.is_file() else 0
        return total

    def _seconds(self) -> float:
        total = 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])  # with those of children that ended
        return total


KINDS_THAT_WAIT = ("deliver_webhook", "tune", "freeze_dataset")
"""Kinds of jobs that nobody in this process ends, or that wait for hours between their attempts."""

DUE = f"status IN ('queued', 'running') AND kind NOT IN {KINDS_THAT_WAIT!r}"


@contextmanager
def platform(folder: Path) -> Iterator[Platform]:
    """Starts a platform in an empty folder."""
    root = str(Path(serving.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    with (
        Loop() as loop,
        engine(loop, Engine().app()) as engine_port,
        engine(loop, PoolingEngine().application()) as pooling_port,
        (folder / "stderr").open("wb") as stderr,
    ):
        of = (str(folder), str(engine_port), str(pooling_port))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.campaigns.amplification.server", *of],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
        )
        try:

            def started() -> bool:
                assert process.poll() is None, (folder / "stderr").read_text()
                return (folder / "url").exists()

            eventually(started, "the platform is up", GUARD_S)
            yield Platform(folder, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(GUARD_S)
            finally:
                process.kill()
