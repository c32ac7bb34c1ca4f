"""Admission: limits on requests that run at once and that wait; further ones are rejected."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from serving.config import Limits
from serving.protocol.errors import busy
from serving.telemetry import metrics


class Admission:
    """Admits requests in the order of arrival, per gateway replica. Serve's own back-pressure would answer in plain
    text.

    Background requests have at most `background_in_flight` slots, at most half of all, and wait while any other request
    waits: without a timeout, since the number of their jobs is limited.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._background_places = min(limits.background_in_flight, max(1, limits.in_flight // 2))
        self._active = 0
        self._in_background = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._waiting_in_background: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def admit(self, *, background: bool = False, within: bool = False) -> AsyncIterator[None]:
        """Occupies a slot; raises `ApiError` when the queue is full or the wait is too long.

        A request `within` a run of an app needs no slot: the run has one, and would wait for itself.
        """
        if within:
            yield
            return
        if background:
            await self._enter_in_background()
        else:
            await self._enter()
        metrics.in_flight().inc()
        try:
            yield
        finally:
            metrics.in_flight().dec()
            self._leave(background=background)

    async def _enter(self) -> None:
        if self._active < self._limits.in_flight:
            self._active += 1
            return
        if len(self._waiting) >= self._limits.queue:
            raise busy("Too many requests are waiting")
        metrics.waiting.inc()
        try:
            async with asyncio.timeout(self._limits.queue_timeout_s):
                await self._wait(self._waiting, background=False)
        except TimeoutError:
            raise busy("The request waited too long for its turn", 5) from None
        finally:
            metrics.waiting.dec()

    async def _enter_in_background(self) -> None:
        if self._has_room_in_background():
            self._active += 1
            self._in_background += 1
            return
        await self._wait(self._waiting_in_background, background=True)

    async def _wait(self, line: deque[asyncio.Future[None]], *, background: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave(background=background)  # the slot was handed over just as the wait ended: pass it on
            elif turn in line:
                line.remove(turn)
            raise

    def _leave(self, *, background: bool) -> None:
        self._active -= 1
        self._in_background -= background
        if _hand_over(self._waiting):
            self._active += 1
        elif self._has_room_in_background() and _hand_over(self._waiting_in_background):
            self._active += 1
            self._in_background += 1

    def _has_room_in_background(self) -> bool:
        return self._active < self._limits.in_flight and self._in_background < self._background_places


def _hand_over(line: deque[asyncio.Future[None]]) -> bool:
    """Hands a slot to the next waiting request, if there is one."""
    while line:
        turn = line.popleft()
        if not turn.done():
            turn.set_result(None)
            return True
    return False
