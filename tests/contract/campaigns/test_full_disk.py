"""A disk that is full: whoever writes is told so, nothing acknowledged is lost, and it goes on once there is room."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.config import Catalog, RemoteModel
from serving.store.relational.database import Database
from tests.contract.campaigns.engine import Engine
from tests.contract.campaigns.ledger import Found, Rating, Told, Turn, read, violations
from tests.contract.running import Loop, engine, gateway
from tests.servers.postgres import NOBODY, Postgres

pytestmark = pytest.mark.full

DISK = "12m"
LONG = "x" * 20_000
FULL = {"type": "server_error", "param": None, "code": "unavailable"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, which only root can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0777", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can only be made by root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, disk: Path) -> Iterator[str]:
    """A database on that disk."""
    if request.param == "sqlite":
        yield f"sqlite:///{disk}/state/h.db"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    # The server runs as nobody, who must find the way.
    space = postgres.folder / "space"
    space.mkdir()
    subprocess.run(["mount", "--bind", str(disk), str(space)], check=True)
    (space / "tables").mkdir()
    os.chown(space / "tables", NOBODY, NOBODY)
    postgres.sql(f"CREATE TABLESPACE narrow LOCATION '{space}/tables'")
    postgres.sql("CREATE DATABASE narrow TABLESPACE narrow")
    yield postgres.url("narrow")
    postgres.sql("DROP DATABASE narrow WITH (FORCE)")
    postgres.sql("DROP TABLESPACE narrow")
    subprocess.run(["umount", "--lazy", str(space)], check=True)


class World:
    """A caller who writes down what was acknowledged. Each action returns None for that, else what it was told."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.told = Told()
        self.conversation = str(http.post("/v1/conversations", json={}).json()["id"])
        self._numbers = count()

    def _marker(self) -> str:
        marker = f"t{next(self._numbers)} {LONG}"
        self.told.tried.add(marker)
        return marker

    def _error(self, r: httpx.Response) -> dict[str, Any]:
        return {**r.json()["error"], "status": r.status_code}

    def chat(self) -> dict[str, Any] | None:
        marker = self._marker()
        body = {"model": "m", "conversation": self.conversation, "messages": [{"role": "user", "content": marker}]}
        r = self.http.post("/v1/chat/completions", json=body)
        if r.status_code != 200:
            return self._error(r)
        self.told.turns.append(Turn(marker, r.json()["id"], self.conversation, None))
        return None

    def streamed_chat(self) -> dict[str, Any] | None:
        marker = self._marker()
        messages = [{"role": "user", "content": marker}]
        body = {"model": "m", "conversation": self.conversation, "messages": messages, "stream": True}
        frames = self.http.post("/v1/chat/completions", json=body).text.removesuffix("\n\n").split("\n\n")
        last = frames[-1].removeprefix("data: ")
        if last != "[DONE]":
            return {**json.loads(last)["error"], "status": 503}
        id = json.loads(frames[0].removeprefix("data: "))["id"]
        self.told.turns.append(Turn(marker, id, self.conversation, None))
        return None

    def response(self) -> dict[str, Any] | None:
        marker = self._marker()
        r = self.http.post("/v1/responses", json={"model": "m", "input": marker})
        if r.status_code != 200:
            return self._error(r)
        self.told.turns.append(Turn(marker, r.json()["id"], None, None))
        return None

    def streamed_response(self) -> dict[str, Any] | None:
        marker = self._marker()
        text = self.http.post("/v1/responses", json={"model": "m", "input": marker, "stream": True}).text
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        if events[-1]["type"] != "response.completed":
            assert events[-1]["type"] == "response.failed"
            error = events[-1]["response"]["error"]
            assert error["code"] == "server_error"  # of OpenAI's codes in this place
            return {**FULL, "status": 503, "message": error["message"]}
        self.told.turns.append(Turn(marker, events[-1]["response"]["id"], None, None))
        return None

    def rating(self) -> dict[str, Any] | None:
        turn = self.told.turns[0]
        # What does not compress fills a page at once: an answer takes 20 ratings of a person.
        rating = Rating(f"fb_{next(self._numbers)}", turn.id, "up", secrets.token_hex(5_000))
        self.told.rated.add(rating.id)
        target = {"type": "response", "id": turn.id}
        body = {"id": rating.id, "target": target, "thumb": rating.thumb, "comment": rating.comment}
        r = self.http.post("/v1/feedback", json=body)
        if r.status_code != 200:
            return self._error(r)
        self.told.ratings.append(rating)
        return None

    def upload(self) -> dict[str, Any] | None:
        r = self.http.post("/v1/files", data={"purpose": "assistants"}, files={"file": ("a.txt", LONG * 20)})
        return None if r.status_code == 200 else self._error(r)

    @property
    def actions(self) -> list[Callable[[], dict[str, Any] | None]]:
        return [self.chat, self.streamed_chat, self.response, self.streamed_response, self.rating, self.upload]


def until_refused(action: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """Repeats what still fits into pages that the database already has."""
    for _ in range(1000):
        if (error := action()) is not None:
            return error
    raise AssertionError("the disk is full, and yet a thousand writes went through")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(b"\1" * size) == size:
                    pass
            except OSError:
                continue


def test_a_full_disk_loses_no_acknowledged_data(disk: Path, database: str) -> None:
    with Loop() as loop, engine(loop, Engine().app()) as port:
        catalog = Catalog(models=(RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", tokenizer="vllm"),))
        with (
            gateway(loop, disk, catalog, database=database) as up,
            up.client() as http,
        ):
            world = World(http)
            for action in world.actions:
                assert action() is None
            fill(disk / "filler")
            for action in [world.chat, *world.actions]:
                error = until_refused(action)
                assert error.pop("message")
                assert error == {**FULL, "status": 503}
            # What is there can still be read.
            assert http.get(f"/v1/conversations/{world.conversation}/items").status_code == 200
            assert http.get(f"/v1/feedback/{world.told.ratings[0].id}").status_code == 200
            (disk / "filler").unlink()
            for action in world.actions:
                assert action() is None, "there is room again, and it does not go on"
    assert violations(world.told, asyncio.run(held(database))) == []


async def held(url: str) -> Found:
    async with Database(url) as database:
        return await read(database)
