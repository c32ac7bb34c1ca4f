"""Streams the events of a background response, from whichever gateway produces its answer."""

from __future__ import annotations

import asyncio
import re

import orjson

from serving.api.background.responses import EVENTS
from serving.api.services import Services
from serving.core.principal import Principal
from serving.inference.exchange import Exchange
from serving.protocol.errors import ApiError, invalid

POLL_S = 0.25
"""Interval of checks whether an answer has begun."""

_LAST = re.compile(rb"(?:^|\n)event: response\.(?:completed|incomplete)\n")
_HELD = 64  # bytes between which the name of an event can be split


async def follow(s: Services, x: Exchange, id: str, after: int | None) -> None:
    """Streams a response's events with numbers above `after`, up to the one with the whole response.

    A failed attempt is followed by the next one from its beginning. If the events are no longer kept, only the last one
    is sent. Raises `NotFound` for a response that is deleted meanwhile.
    """
    following = _Following(s, x, after)
    async with x.cancelled_by_hang_up():
        while (document := await _finished(s, x.caller, id)) is None:
            if not await following.attempt(id):
                await asyncio.sleep(POLL_S)
        await following.attempt(id)
        await following.end(id, document)


async def _finished(s: Services, caller: Principal, id: str) -> dict[str, object] | None:
    document = (await s.responses.get(caller, id)).body
    return document if document["status"] not in ("queued", "in_progress") else None


class _Following:
    def __init__(self, s: Services, x: Exchange, after: int | None) -> None:
        self._s = s
        self._x = x
        self._after = after
        self._followed: set[str] = set()
        self._told = b""
        self._whole = False

    async def attempt(self, id: str) -> bool:
        """Relays the events of the newest attempt, once; returns whether there was one."""
        job = await self._s.background.job(self._x.caller, id)
        if job is None or not job.message or job.message in self._followed:
            await self._start()
            return False
        self._followed.add(job.message)
        first = job.done - EVENTS
        seen = max(self._after + 1 - first, 0) if self._after is not None else 0
        owner = self._s.stream_ids.owner(job.message, self._x.caller)
        try:
            async with self._s.peers.following(owner, job.message, seen) as pieces:
                await self._start()
                async for piece in pieces:
                    self._note(piece)
                    await self._x.write(piece)
        except ApiError as e:
            if e.param == "last-event-id":
                raise invalid("starting_after names an event that does not exist yet.", "starting_after") from None
            if e.code != "stream_lost":
                raise
        return True

    async def end(self, id: str, document: dict[str, object]) -> None:
        """Sends the final event, if no attempt did."""
        await self._start()
        job = await self._s.background.job(self._x.caller, id)
        number = job.done + EVENTS - 1 if job is not None else (self._after if self._after is not None else -1) + 1
        if not self._whole and (self._after is None or number > self._after):
            name = f"response.{document['status']}"
            event = {"type": name, "response": document, "sequence_number": number}
            await self._x.write(b"event: " + name.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n")
        await self._x.write(b"", last=True)

    async def _start(self) -> None:
        if not self._x.started:
            await self._x.start_stream()
            self._x.timeline.end_of("respond")

    def _note(self, piece: bytes) -> None:
        text = self._told + piece
        self._whole = self._whole or _LAST.search(text) is not None
        self._told = text[-_HELD:]
