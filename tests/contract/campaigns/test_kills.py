"""`kill -9` of a gateway or of the database at random points under load: what was acknowledged is there exactly once.

Two gateways share a database and a scripted engine. Callers ask for turns, streamed or whole, in conversations that
they share and in chains of responses, and rate each answer. A kill comes at a frame of the engine that the seed
chooses, so it meets turns in all of their states. What the gateways count, dead ones too, is held against what
the callers know: exactly before the first kill, and within what a kill can leave uncounted after it.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

import serving
from serving.security.keys import new_key
from serving.store.relational.database import Database
from serving.telemetry.exporter import serve as exporter_of
from tests.contract.campaigns.callers import CLIENTS, GUARD_S, Callers
from tests.contract.campaigns.engine import Engine
from tests.contract.campaigns.ledger import Found, read, violations
from tests.contract.campaigns.tally import Counters, miscounted
from tests.contract.running import Loop, engine
from tests.servers.postgres import Postgres
from tests.servers.process import held_port
from tests.wait import eventually

pytestmark = pytest.mark.full

SEED = int(os.environ.get("HEADRACE_KILL_SEED", "6"))
FRAMES = (10, 250)
"""Frames of the engine from one kill to the next."""
FOLDED = ["counter_folded.db", "histogram_folded.db"]
"""What is left of the metrics' files once all gateways have ended."""
MORE_S = 0.03
"""At most so much later it falls: what follows an engine's last frame takes a few milliseconds."""


class Replica:
    """A gateway process, which may be killed at any time and started again at its address."""

    def __init__(self, *arguments: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        database, folder, engine_port = arguments
        self._log = Path(folder) / "log"
        self._environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(Path(folder) / "metrics")}
        self._command = [
            sys.executable,
            "-m",
            "tests.contract.campaigns.gateway",
            database,
            folder,
            str(port),
            engine_port,
        ]
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        root = str(Path(serving.__file__).parents[1])
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=root, env=self._environment | {"PYTHONPATH": root}, stderr=log)

    def stand_up(self) -> None:
        """Starts it again if it ended, as an orchestrator would: one that finds no database gives up."""
        if self._process.poll() is not None:
            self._process = self._spawn()

    def answers(self) -> bool:
        """Whether it takes requests."""
        self.stand_up()
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends it in order, so that what is under way is done."""
        self._process.terminate()
        try:
            self._process.wait(GUARD_S)
        except subprocess.TimeoutExpired:  # a request hangs, which the test is about to say
            self.kill()


class Clock:
    """Counts the engine's frames, and wakes who waits for one of them."""

    def __init__(self) -> None:
        self._due: int | None = None
        self._frame = 0
        self._struck = threading.Event()

    def on_frame(self, number: int) -> None:
        self._frame = number
        if self._due is not None and number >= self._due:
            self._due = None
            self._struck.set()

    def wait(self, frames: int, while_waiting: Callable[[], None]) -> None:
        """Waits until the engine has begun `frames` more."""
        self._struck.clear()
        self._due = self._frame + frames
        until = time.monotonic() + GUARD_S
        while not self._struck.wait(0.1):
            assert time.monotonic() < until, "the load came to a halt"
            while_waiting()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Postgres | None]:
    """A PostgreSQL of this campaign's own, None for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    yield postgres
    if postgres.process is None or postgres.process.poll() is not None:
        postgres.start()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("server", "kills"),
    [
        ("sqlite", 1),  # of a gateway
        ("postgresql", 2),  # of the database, and of a gateway
        pytest.param("sqlite", 40, marks=pytest.mark.soak),
        pytest.param("postgresql", 60, marks=pytest.mark.soak),
    ],
    indirect=["server"],
)
def test_acknowledged_writes_survive_kills_exactly_once(server: Postgres | None, kills: int, tmp_path: Path) -> None:
    print(f"HEADRACE_KILL_SEED={SEED}")
    url = server.database() if server is not None else f"sqlite:///{tmp_path}/h.db"
    key = new_key()
    (tmp_path / "hash").write_text("h" * 40)
    (tmp_path / "key").write_text(key)
    clock = Clock()
    scripted = Engine(clock.on_frame)
    with Loop() as loop, exporting(tmp_path / "metrics") as scrape:
        with (
            engine(loop, scripted.app()) as engine_port,
            held_port() as one,
            held_port() as other,
            standing([Replica(url, str(tmp_path), str(engine_port), port=port) for port in (one, other)]) as replicas,
        ):
            callers = Callers([replica.url for replica in replicas], key, SEED)
            counted_exactly(callers, scripted, loop, scrape)
            deaths = killed_under_load(callers, replicas, server, kills, clock, scrape)
        counters = scrape()
    told, found = callers.told, asyncio.run(held(url))
    turns, ratings = len(told.turns), len(told.ratings)
    print(f"{kills} kills; acknowledged: {turns} of {len(told.tried)} turns and {ratings} ratings")
    print(f"kept without that: {len(found.captures) - turns} turns and {len(found.ratings) - ratings} ratings")
    print(f"cut: {counters.under_way():g}, seen by callers: {callers.tally.broken.total()} answers that broke off")
    assert turns > CLIENTS
    assert violations(told, found) == []
    assert miscounted(callers.tally, counters, kills=deaths, clients=CLIENTS) == []
    assert sorted(path.name for path in (tmp_path / "metrics").glob("*.db")) == FOLDED


def counted_exactly(callers: Callers, scripted: Engine, loop: Loop, scrape: Callable[[], Counters]) -> None:
    """Asserts that each answer is counted, once and when it has been sent: while nobody is killed, all is exact."""
    under_way: list[float] = []

    def begun() -> None:
        under_way.append(scrape().under_way())
        loop.loop.call_soon_threadsafe(scripted.going_on.set)

    asyncio.run_coroutine_threadsafe(callers.settle(), loop.loop).result(GUARD_S)
    eventually(lambda: scrape().under_way() == 0, "all requests are counted", GUARD_S)
    loop.loop.call_soon_threadsafe(scripted.going_on.clear)
    asyncio.run_coroutine_threadsafe(callers.watch_one(begun), loop.loop).result(GUARD_S)
    assert under_way == [1]
    eventually(lambda: scrape().under_way() == 0, "the last request is counted", GUARD_S)
    assert miscounted(callers.tally, scrape()) == []


@contextmanager
def exporting(folder: Path) -> Iterator[Callable[[], Counters]]:
    """Serves the metrics in `folder`, which must not exist yet, and yields what scrapes them."""
    exporter = exporter_of(folder, "127.0.0.1", 0)
    thread = threading.Thread(target=exporter.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{exporter.server_port}/metrics"
    try:
        yield lambda: Counters(httpx.get(url, trust_env=False, timeout=GUARD_S).raise_for_status().text)
    finally:
        exporter.shutdown()
        thread.join()
        exporter.server_close()


@contextmanager
def standing(replicas: list[Replica]) -> Iterator[list[Replica]]:
    """Yields the replicas once they answer, and ends them in order."""
    try:
        eventually(lambda: all(replica.answers() for replica in replicas), "both gateways answer", GUARD_S)
        yield replicas
    finally:
        for replica in replicas:
            replica.close()


def killed_under_load(
    callers: Callers,
    replicas: list[Replica],
    server: Postgres | None,
    kills: int,
    clock: Clock,
    scrape: Callable[[], Counters],
) -> int:
    """Lets callers ask while gateways and the database are killed, and for a round after; returns gateways' deaths.

    Each of them is followed by a scrape, which folds what the dead one counted.
    """
    chance, loop, deaths = random.Random(SEED), Loop(), 0
    load = asyncio.run_coroutine_threadsafe(callers.run(), loop.loop)

    def watch() -> None:
        for replica in replicas:
            replica.stand_up()
        if load.done():
            load.result()  # says why

    victims: list[Replica | Postgres] = [*replicas, *([server] if server is not None else [])]
    # Few kills meet the database and a gateway too.
    first = iter([server, chance.choice(replicas)] if server is not None else [])
    for _ in range(kills):
        clock.wait(chance.randint(*FRAMES), watch)
        time.sleep(chance.random() * MORE_S)
        victim = next(first, None) or chance.choice(victims)
        if isinstance(victim, Postgres):
            victim.crash()
            victim.start()
        else:
            victim.kill()
            deaths += 1
            scrape()
            victim.stand_up()
    before = list(callers.rounds)

    def all_went_on() -> bool:
        watch()
        return all(now > was for now, was in zip(callers.rounds, before, strict=True))

    eventually(all_went_on, "every caller gets on after the last kill", GUARD_S)
    callers.stop()
    load.result(GUARD_S)
    loop.stop()
    return deaths


async def held(url: str) -> Found:
    async with Database(url) as database:
        return await read(database)
