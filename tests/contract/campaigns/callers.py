"""Callers of several gateways: they go on until they are told to stop, and write down what they tried and were told."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohttp

from tests.contract.campaigns.ledger import Rating, Told, Turn
from tests.contract.campaigns.tally import Tally

CLIENTS = 16
CONVERSATIONS = 5
"""Shared by those who talk in them, so that callers of both gateways meet in one."""
OTHERS = 2
"""So many of them are another tenant's, and so are their callers."""
AGAIN_S = 0.2
GUARD_S = 300
"""Nothing takes so long, even on a busy host: what does hangs."""
BUSY = (429, 503)
"""What a caller may be told for a while."""
DEFAULT, OTHER = "default", "other"
"""The tenants."""


class Callers:
    """Clients that go on until they are told to stop, and write down what they tried and were told."""

    def __init__(self, urls: Sequence[str], key: str, seed: int) -> None:
        self.told = Told()
        self.tally = Tally()
        self.rounds = [0] * CLIENTS
        self._urls = urls
        self._keys = {DEFAULT: key}
        self._chances = [random.Random(f"{seed}.{n}") for n in range(CLIENTS)]
        self._attempts = [0] * CLIENTS
        self._stopped = False
        self._conversations: list[str] = []

    def stop(self) -> None:
        self._stopped = True

    async def settle(self) -> None:
        """Makes the other tenant and the conversations, and has one round of every client."""
        async with _session() as session:
            await self._make(session, DEFAULT, "/v1/admin/tenants", {"id": OTHER})
            whose = {"tenant": OTHER}
            await self._make(session, DEFAULT, "/v1/admin/users", {"id": "u", "role": "user"}, whose)
            key = await self._make(session, DEFAULT, "/v1/admin/keys", {"user": "u"}, whose)
            self._keys[OTHER] = key["key"]
            for n in range(CONVERSATIONS):
                made = await self._make(session, _tenant(n), "/v1/conversations", {})
                self._conversations.append(made["id"])
            await asyncio.gather(*(self._client(session, n, rounds=1) for n in range(CLIENTS)))

    async def watch_one(self, begun: Callable[[], None]) -> None:
        """Asks for one stream, and calls `begun`, in a thread, when its first bytes are there."""
        marker, path = "watched", "/v1/chat/completions"
        body: dict[str, Any] = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
        body["messages"] = [{"role": "user", "content": marker}]
        self.told.tried.add(marker)
        async with _session() as session:
            status, data = await self._post(session, self._chances[0], DEFAULT, path, body, begun=begun)
        id = self._streamed(marker, data, chat=True)
        assert id is not None, (status, data)
        self.told.turns.append(Turn(marker, id, None, None))

    async def run(self) -> None:
        """Goes on until it is stopped."""
        async with _session() as session:
            await asyncio.gather(*(self._client(session, n) for n in range(CLIENTS)))

    async def _make(
        self,
        session: aiohttp.ClientSession,
        tenant: str,
        path: str,
        body: Mapping[str, Any],
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        status, data = await self._post(session, self._chances[0], tenant, path, body, params)
        assert status == 200, (path, status, data)
        made: dict[str, Any] = json.loads(data)
        return made

    async def _client(self, session: aiohttp.ClientSession, n: int, rounds: int | None = None) -> None:
        chance = self._chances[n]
        previous: str | None = None
        until = self.rounds[n] + rounds if rounds is not None else None
        while not self._stopped and self.rounds[n] != until:
            self._attempts[n] += 1
            marker = f"t{n}_{self._attempts[n]}"
            chat = n % 3 == 0
            conversation = self._conversations[n % CONVERSATIONS] if n % 3 < 2 else None
            self.told.tried.add(marker)
            id = await self._turn(session, chance, _tenant(n), marker, chat, conversation, previous)
            if id is None:
                await asyncio.sleep(AGAIN_S)  # with another marker: nobody knows what became of this one
                continue
            self.told.turns.append(Turn(marker, id, conversation, previous))
            if conversation is None:
                previous = id
            await self._rate(session, chance, _tenant(n), marker, id)
            self.rounds[n] += 1

    async def _turn(
        self,
        session: aiohttp.ClientSession,
        chance: random.Random,
        tenant: str,
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
            body |= {"stream_options": {"include_usage": True}} if stream else {}
        body |= {"conversation": conversation} if conversation else {}
        body |= {"previous_response_id": previous} if previous else {}
        status, data = await self._post(session, chance, tenant, path, body)
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

    async def _rate(
        self, session: aiohttp.ClientSession, chance: random.Random, tenant: str, marker: str, id: str
    ) -> None:
        """Rates an answer again and again under the same id, until that is acknowledged."""
        rating = Rating(f"fb_{marker}", id, chance.choice(["up", "down"]), f"of {marker}")
        target = {"type": "response", "id": id}
        body = {"id": rating.id, "target": target, "thumb": rating.thumb, "comment": rating.comment}
        self.told.rated.add(rating.id)
        while True:
            status, data = await self._post(session, chance, tenant, "/v1/feedback", body)
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
        self,
        session: aiohttp.ClientSession,
        chance: random.Random,
        tenant: str,
        path: str,
        body: Mapping[str, Any],
        params: Mapping[str, str] | None = None,
        begun: Callable[[], None] | None = None,
    ) -> tuple[int, bytes]:
        """Returns the status, 0 when there was none, and what came of the body before the connection was lost."""
        status, data, whole = 0, b"", False
        headers = {"Authorization": f"Bearer {self._keys[tenant]}"}
        url = chance.choice(self._urls) + path
        with suppress(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            async with session.post(url, json=body, headers=headers, params=params) as r:
                status = r.status
                async for chunk in r.content.iter_any():
                    data += chunk
                    if begun is not None:
                        await asyncio.to_thread(begun)
                        begun = None
                whole = True
        self.tally.book(path, tenant, status, data, whole=whole)
        return status, data


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=GUARD_S / 2))


def _tenant(n: int) -> str:
    """Whose client `n` is, and conversation `n`."""
    return OTHER if n % CONVERSATIONS < OTHERS else DEFAULT
