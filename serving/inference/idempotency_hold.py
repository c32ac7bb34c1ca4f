"""What keeps a request's answer in the transaction that stores what it did: the hold on an idempotency key is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from sqlalchemy.engine import Connection

from serving.protocol.errors import conflict
from serving.store.conversations import Item, Then
from serving.store.errors import LeaseLost, StoreError, StoreUnavailable
from serving.store.idempotency import LEASE_S, MAX_BODY, Claim, IdempotencyKeys, KeptAnswer, keep

log = logging.getLogger("headrace.api")


class AnswerHold(Protocol):
    """Keeps an answer beside what it did. `kept` says that it is in the store.

    `for_later` holds keep also what is not to be stored: its caller gets it from nowhere else.
    """

    for_later: bool
    kept: bool

    def answer(self, last: bytes, *, stream: bool) -> KeptAnswer | None:
        """Returns what is kept, when `last` is all of the answer that is still to be sent."""
        ...

    def keeping(
        self, answer: KeptAnswer | None, made_id: str, told_of: Mapping[str, str | None], then: Then | None
    ) -> Then:
        """Returns `then` and what keeps the answer in its transaction."""
        ...

    async def pin(self) -> None:
        """Is told before something is done that must not be done again; raises `ApiError`."""
        ...


class Hold:
    """A request's hold on its key, and what its caller was sent so far."""

    for_later = False

    def __init__(self, keys: IdempotencyKeys, claim: Claim) -> None:
        self._keys = keys
        self._claim = claim
        self._sent: list[bytes] = []
        self._size = 0
        self._pinned = False
        self._prolonging = asyncio.Lock()  # a renewal that ends after the pin would shorten it
        self.kept = False

    def hear(self, data: bytes) -> None:
        """Notes what is sent, as far as it may be kept."""
        self._size += len(data)
        if self._size <= MAX_BODY:
            self._sent.append(data)

    def answer(self, last: bytes, *, stream: bool) -> KeptAnswer | None:
        """Returns the answer, when `last` is all of it that is still to be sent; None where it is too large."""
        if self._size + len(last) > MAX_BODY:
            return None
        kind = "text/event-stream; charset=utf-8" if stream else "application/json"
        return KeptAnswer(kind, b"".join([*self._sent, last]))

    def keeping(
        self, answer: KeptAnswer | None, made_id: str, told_of: Mapping[str, str | None], then: Then | None
    ) -> Then:
        """Returns `then` and what keeps the answer in its transaction."""

        def both(connection: Connection, added: Sequence[Item]) -> None:
            if then is not None:
                then(connection, added)
            keep(connection, self._claim, answer, made_id, told_of)

        return both

    async def pin(self) -> None:
        """Holds the key whatever comes: what is done next must not be done again. Raises `ApiError` when it is lost."""
        async with self._prolonging:
            if self._pinned:
                return
            try:
                await self._keys.pin(self._claim)
            except LeaseLost:
                raise conflict("Another request with this Idempotency-Key took over.") from None
            self._pinned = True

    async def renew(self) -> None:
        """Holds the key until cancelled."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            async with self._prolonging:
                if self._pinned:
                    return
                try:
                    await self._keys.renew(self._claim)
                except StoreUnavailable as e:
                    log.warning("an idempotency key is not held on to: %s", e)
                except LeaseLost:  # the answer will not be kept, nor what it did
                    return

    async def release(self) -> None:
        """Gives the key back unless the answer was kept, or the key is held whatever comes."""
        if self.kept:
            return
        try:
            if self._pinned:
                await self._keys.keep(self._claim, None, None, {})
            else:
                await self._keys.release(self._claim)
        except StoreError as e:
            log.warning("an idempotency key is given back in %d s only: %s", LEASE_S, e)
