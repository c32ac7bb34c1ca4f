"""The accountant's stack: two gateways over one database, the node's exporter, and a Prometheus with all rules."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import aiohttp
import httpx
import yaml

import serving
from monitoring.rule import Group
from monitoring.rules_file import document
from serving.security.keys import new_key
from serving.telemetry.exporter import serve as exporter_of
from tests.contract.monitoring.accountant.client import GUARD_S, Caller, Client
from tests.contract.monitoring.accountant.engine import Engine
from tests.contract.monitoring.accountant.stack import DEFAULT, RELEASED
from tests.contract.running import Loop, engine
from tests.monitoring import scaled_rules
from tests.servers.process import Server, held_port
from tests.store import migrated
from tests.wait import eventually
from tools.binaries import find

T = TypeVar("T")
KEY_SECRET = b"h" * 40
"""With which gateways make digests of keys."""
STACK = "tests.contract.monitoring.accountant.stack"
ROUND_S = 900
"""More than a round takes on a busy host."""
SCALE = 120
"""Rules are so much faster than a stack's."""
RULES: tuple[Group, ...] = scaled_rules.scaled_groups(SCALE)
SCRAPED_S = 3
"""Also the time that a scrape may take: one that is late would leave a gap."""
ALIGNED_S = 0.01
"""Prometheus aligns the times of scrapes by up to two milliseconds."""
PROBE = "headrace_requests_in_flight"
"""A series that a gateway has from its start: each scrape of it has a time, which all series share."""


class Prometheus(Server):
    """Prometheus with all rules on a faster clock, which scrapes one exporter every few seconds."""

    def __init__(self, target: str) -> None:
        super().__init__()
        with self._closed_on_failure():
            port = self._port()
            (self.folder / "rules.yaml").write_text(json.dumps(document(RULES)))
            settings = {
                "global": {"scrape_interval": f"{SCRAPED_S}s", "evaluation_interval": "2s"},
                "rule_files": ["rules.yaml"],
                "scrape_configs": [{"job_name": "headrace", "static_configs": [{"targets": [target]}]}],
            }
            (self.folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
            self._start(
                [
                    str(find.bin_dir(["prometheus"]) / "prometheus"),
                    f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ]
            )
            self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60, trust_env=False)
            self._ready([port])

    def ask(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Returns the result of an instant query, now or at a time; none while Prometheus starts."""
        query = {"query": expression} | ({"time": f"{at:.3f}"} if at is not None else {})
        answer = self.http.post("/query", data=query)
        if answer.status_code == 503:
            return []
        body = answer.json()
        assert answer.status_code == 200, f"{expression}: {body.get('error')}"
        found: list[dict[str, Any]] = body["data"]["result"]
        return found

    def scrapes(self) -> list[float]:
        """Returns the times of all scrapes that are stored, in seconds."""
        found = self.ask(f"{PROBE}[1h]")
        return [at for at, _ in found[0]["values"]] if found else []

    def next_scrape(self) -> float:
        """Waits for a scrape that began after the call, and returns its time."""
        called = time.time() + ALIGNED_S
        return eventually(lambda: next((at for at in self.scrapes() if at > called), 0), "another scrape", GUARD_S)

    def close(self) -> None:
        if hasattr(self, "http"):
            self.http.close()
        super().close()


class World:
    """What the accountant talks to."""

    def __init__(self, folder: Path, loop: Loop, scripted: Engine, client: Client, exporter: str, key: str) -> None:
        self.folder = folder
        self.loop = loop
        self.engine = scripted
        self.client = client
        self.exporter = exporter
        """Its address."""
        self.operator = Caller(DEFAULT, "", key)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it in the loop of client and engine, however long a busy host takes."""
        return asyncio.run_coroutine_threadsafe(work, self.loop.loop).result(ROUND_S)

    def exported(self) -> str:
        """Returns what the exporter says now."""
        with urllib.request.urlopen(f"http://{self.exporter}/metrics", timeout=60) as answer:
            return str(answer.read().decode())

    def exported_sum(self, name: str) -> float:
        lines = [line for line in self.exported().splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def log(self) -> list[dict[str, Any]]:
        """Returns the lines of the gateways' log of requests."""
        files = sorted(self.folder.glob("requests-*.log"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def settled(self) -> None:
        """Waits until every request that was sent has ended in the gateways."""
        sent = len(self.client.ledger)
        eventually(lambda: len(self.log()) >= sent, "every request is logged", GUARD_S)
        ended = "headrace_request_duration_seconds_count"
        eventually(lambda: self.exported_sum(ended) >= sent, "every request has ended", GUARD_S)
        released = self.client.ledger.where(asked=RELEASED)
        outcomes = sum(bool(entry.captured) + bool(entry.got) for entry in released)
        spent = float(sum(entry.cost for entry in self.client.ledger))
        month = "headrace_month_to_date_cost"
        eventually(lambda: self.exported_sum(month) >= spent - 1e-9, "the cost of this month is read", GUARD_S)
        counted = "headrace_release_outcomes"
        eventually(lambda: self.exported_sum(counted) >= outcomes, "the release counted every outcome", GUARD_S)


class Waiting:
    """The number of requests that wait in the gateways, as the exporter says."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self) -> int:
        return int(self._world.exported_sum("headrace_requests_waiting"))


@contextmanager
def standing(
    folder: Path, scripted: Engine | None = None, *, stack: str = STACK, environment: Mapping[str, str] | None = None
) -> Iterator[World]:
    """Starts it all but Prometheus. The gateways serve what the module `stack` says, in an `environment` of theirs."""
    (folder / "metrics").mkdir()
    (folder / "hash").write_bytes(KEY_SECRET)
    key = new_key()
    (folder / "key").write_text(key)
    migrated.sqlite_at(f"sqlite:///{folder}/h.db")
    scripted = scripted or Engine()
    with ExitStack() as opened:
        loop = opened.enter_context(Loop())
        engine_port = opened.enter_context(engine(loop, scripted.app(), cancels=True))
        ports = [opened.enter_context(held_port()) for _ in range(3)]
        for port in ports[:2]:
            opened.enter_context(_gateway(folder, port, [engine_port, ports[2], stack], environment or {}))
        exporter = exporter_of(folder / "metrics", "127.0.0.1", 0)
        Thread(target=exporter.serve_forever, daemon=True).start()
        opened.callback(exporter.server_close)
        opened.callback(exporter.shutdown)
        for port in ports[:2]:
            eventually(lambda port=port: _listens(port), "the gateway listens", GUARD_S)  # type: ignore[misc]

        async def session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(trust_env=False, connector=aiohttp.TCPConnector(limit=0, force_close=True))

        connected = loop.do(session())
        opened.callback(lambda: loop.do(connected.close()))
        client = Client(connected, (f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"), scripted)
        yield World(folder, loop, scripted, client, f"127.0.0.1:{exporter.server_address[1]}", key)


@contextmanager
def _gateway(folder: Path, port: int, more: Sequence[object], own: Mapping[str, str]) -> Iterator[None]:
    root = str(Path(serving.__file__).parents[1])
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"), "PYTHONPATH": root, **own}
    module = "tests.contract.monitoring.accountant.gateway"
    command = [sys.executable, "-m", module, str(folder), str(port), *map(str, more)]
    with (folder / f"gateway-{port}.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
