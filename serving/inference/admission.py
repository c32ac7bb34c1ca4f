"""Bounded admission: so many requests at once, so many waiting, and a clear refusal for the rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from serving.config import Limits
from serving.protocol.errors import too_many
from serving.telemetry import metrics


class Admission:
    """First come, first served, per gateway replica. Serve's own back-pressure answers in plain text; this does not."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Holds a place; raises `ApiError` when the queue is full or the wait is too long."""
        await self._enter()
        metrics.in_flight().inc()
        try:
            yield
        finally:
            metrics.in_flight().dec()
            self._leave()

    async def _enter(self) -> None:
        if self._active < self._limits.in_flight:
            self._active += 1
            return
        if len(self._waiting) >= self._limits.queue:
            raise too_many("Too many requests are waiting; try again soon.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        metrics.waiting.inc()
        try:
            async with asyncio.timeout(self._limits.queue_timeout_s):
                await turn
        except BaseException as e:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place was handed over just as the wait ended: pass it on
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(e, TimeoutError):
                raise too_many("The request waited too long for its turn; try again soon.", 5) from None
            raise
        finally:
            metrics.waiting.dec()

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place goes to the next in line; the count stays
                return
        self._active -= 1
