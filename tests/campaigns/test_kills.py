"""`kill -9` of a gateway or of the database at random points under load: what was acknowledged is there exactly once.

Two gateways share a database and a scripted engine. Callers ask for turns, streamed or whole, in conversations that
they share and in chains of responses, and rate each answer. A kill comes at a frame of the engine that the seed
chooses, so it meets turns in all of their states.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

import serving
from serving.security.keys import new_key
from serving.store.database import Database
from tests.campaigns.engine import Engine
from tests.campaigns.ledger import Found, Rating, Told, Turn, read, violations
from tests.servers import Postgres, free_port
from tests.unit.api.running import Loop, engine
from tests.wait import eventually

SEED = int(os.environ.get("HEADRACE_KILL_SEED", "6"))
CLIENTS = 16
CONVERSATIONS = 5
"""Shared by those who talk in them, so that callers of both gateways meet in one."""
FRAMES = (10, 250)
"""Frames of the engine from one kill to the next."""
MORE_S = 0.03
"""At most so much later it falls: what follows an engine's last frame takes a few milliseconds."""
AGAIN_S = 0.2
GUARD_S = 300
"""Nothing takes so long, even on a busy host: what does hangs."""
BUSY = (429, 503)
"""What a caller may be told for a while."""


class Replica:
    """A gateway process, which may be killed at any time and started again at its address."""

    def __init__(self, *arguments: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        database, folder, engine_port = arguments
        self._log = Path(folder) / "log"
        self._command = [sys.executable, "-m", "tests.campaigns.gateway", database, folder, str(port), engine_port]
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        root = str(Path(serving.__file__).parents[1])
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=root, env=os.environ | {"PYTHONPATH": root}, stderr=log)

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


class Callers:
    """Clients that go on until they are told to stop, and write down what they tried and were told."""

    def __init__(self, urls: list[str], key: str, seed: int) -> None:
        self.told = Told()
        self.rounds = [0] * CLIENTS
        self._urls = urls
        self._key = key
        self._seed = seed
        self._stopped = False
        self._conversations: list[str] = []

    def stop(self) -> None:
        self._stopped = True

    async def run(self, ready: Callable[[], None]) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        timeout = aiohttp.ClientTimeout(total=GUARD_S / 2)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            for _ in range(CONVERSATIONS):
                async with session.post(f"{self._urls[0]}/v1/conversations", json={}) as r:
                    self._conversations.append((await r.json())["id"])
            ready()
            await asyncio.gather(*(self._client(session, n) for n in range(CLIENTS)))

    async def _client(self, session: aiohttp.ClientSession, n: int) -> None:
        chance = random.Random(f"{self._seed}.{n}")
        previous: str | None = None
        attempt = 0
        while not self._stopped:
            attempt += 1
            marker = f"t{n}_{attempt}"
            chat = n % 3 == 0
            conversation = self._conversations[n % CONVERSATIONS] if n % 3 < 2 else None
            self.told.tried.add(marker)
            id = await self._turn(session, chance, marker, chat, conversation, previous)
            if id is None:
                await asyncio.sleep(AGAIN_S)  # with another marker: nobody knows what became of this one
                continue
            self.told.turns.append(Turn(marker, id, conversation, previous))
            if conversation is None:
                previous = id
            await self._rate(session, chance, marker, id)
            self.rounds[n] += 1

    async def _turn(
        self,
        session: aiohttp.ClientSession,
        chance: random.Random,
        marker: str,
        chat: bool,
        conversation: str | None,
        previous: str | None,
    ) -> str | None:
        """Returns the answer's id once it is acknowledged, None when it was not."""
        stream = chance.random() < 0.6
        path, body = "/v1/responses", {"model": "m", "stream": stream, "input": marker}
        if chat:
            path = "/v1/chat/completions"
            body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": marker}]}
        body |= {"conversation": conversation} if conversation else {}
        body |= {"previous_response_id": previous} if previous else {}
        status, data = await self._post(session, chance, path, body)
        if status not in (0, 200, *BUSY):
            self.told.wrong.append(f"{marker} in {conversation or previous}: {status} {data[:300]!r}")
        if status != 200:
            return None
        if not stream:
            with suppress(ValueError):  # it was cut short
                return str(json.loads(data)["id"])
            return None
        return self._streamed(marker, data, chat)

    def _streamed(self, marker: str, data: bytes, chat: bool) -> str | None:
        frames = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
        if chat and frames and frames[-1] == b"[DONE]":
            return str(json.loads(frames[0])["id"])
        for frame in frames:
            event: dict[str, Any] = {}
            with suppress(ValueError):
                event = json.loads(frame)
            if event.get("type") == "response.completed":
                return str(event["response"]["id"])
            error = event if event.get("type") == "error" else event.get("error") or {}
            if error and error.get("code") != "unavailable":
                self.told.wrong.append(f"{marker}: {frame!r}")
        return None

    async def _rate(self, session: aiohttp.ClientSession, chance: random.Random, marker: str, id: str) -> None:
        """Rates an answer again and again under the same id, until that is acknowledged."""
        rating = Rating(f"fb_{marker}", id, chance.choice(["up", "down"]), f"of {marker}")
        target = {"type": "response", "id": id}
        body = {"id": rating.id, "target": target, "thumb": rating.thumb, "comment": rating.comment}
        self.told.rated.add(rating.id)
        while True:
            status, data = await self._post(session, chance, "/v1/feedback", body)
            if status == 200:
                with suppress(ValueError):
                    assert json.loads(data)["id"] == rating.id
                    self.told.ratings.append(rating)
                    return
            if status not in (0, 200, *BUSY):
                self.told.wrong.append(f"{rating.id}: {status} {data[:300]!r}")
                return
            await asyncio.sleep(AGAIN_S)

    async def _post(
        self, session: aiohttp.ClientSession, chance: random.Random, path: str, body: dict[str, Any]
    ) -> tuple[int, bytes]:
        """Returns the status, 0 when there was none, and what came of the body before the connection was lost."""
        status, data = 0, b""
        with suppress(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            async with session.post(chance.choice(self._urls) + path, json=body) as r:
                status = r.status
                async for chunk in r.content.iter_any():
                    data += chunk
        return status, data


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
        ("sqlite", 2),
        ("postgresql", 3),
        pytest.param("sqlite", 40, marks=pytest.mark.soak),
        pytest.param("postgresql", 60, marks=pytest.mark.soak),
    ],
    indirect=["server"],
)
def test_what_was_acknowledged_is_there_exactly_once(server: Postgres | None, kills: int, tmp_path: Path) -> None:
    print(f"HEADRACE_KILL_SEED={SEED}")
    url = server.database() if server is not None else f"sqlite:///{tmp_path}/h.db"
    key = new_key()
    (tmp_path / "hash").write_text("h" * 40)
    (tmp_path / "key").write_text(key)
    clock, loop = Clock(), Loop()
    with (
        engine(loop, Engine(clock.on_frame).app()) as engine_port,
        standing([Replica(url, str(tmp_path), str(engine_port), port=free_port()) for _ in range(2)]) as replicas,
    ):
        told = killed_under_load(replicas, server, key, kills, clock)
    loop.stop()
    found = asyncio.run(held(url))
    turns, ratings = len(told.turns), len(told.ratings)
    print(f"{kills} kills; acknowledged: {turns} of {len(told.tried)} turns and {ratings} ratings")
    print(f"kept without that: {len(found.captures) - turns} turns and {len(found.ratings) - ratings} ratings")
    assert turns > CLIENTS
    assert violations(told, found) == []


@contextmanager
def standing(replicas: list[Replica]) -> Iterator[list[Replica]]:
    """Yields the replicas once they answer, and ends them in order."""
    try:
        eventually(lambda: all(replica.answers() for replica in replicas), "both gateways answer", GUARD_S)
        yield replicas
    finally:
        for replica in replicas:
            replica.close()


def killed_under_load(replicas: list[Replica], server: Postgres | None, key: str, kills: int, clock: Clock) -> Told:
    """Returns what callers were told while gateways and the database were killed, and for a round after."""
    chance, loop, started = random.Random(SEED), Loop(), threading.Event()
    callers = Callers([replica.url for replica in replicas], key, SEED)
    load = asyncio.run_coroutine_threadsafe(callers.run(started.set), loop.loop)
    assert started.wait(GUARD_S)

    def watch() -> None:
        for replica in replicas:
            replica.stand_up()
        if load.done():
            load.result()  # says why

    victims: list[Replica | Postgres] = [*replicas, *([server] if server is not None else [])]
    for _ in range(kills):
        clock.wait(chance.randint(*FRAMES), watch)
        time.sleep(chance.random() * MORE_S)
        victim = chance.choice(victims)
        if isinstance(victim, Postgres):
            victim.crash()
            victim.start()
        else:
            victim.kill()
            victim.stand_up()
    before = list(callers.rounds)

    def all_went_on() -> bool:
        watch()
        return all(now > was for now, was in zip(callers.rounds, before, strict=True))

    eventually(all_went_on, "every caller gets on after the last kill", GUARD_S)
    callers.stop()
    load.result(GUARD_S)
    loop.stop()
    return callers.told


async def held(url: str) -> Found:
    async with Database(url) as database:
        return await read(database)
