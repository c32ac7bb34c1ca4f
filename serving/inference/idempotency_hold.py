"""Holds on idempotency keys, which store a request's answer in the transaction of its effects."""

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
    """Stores an answer with its effects. `kept` tells whether it is stored.

    With `for_later`, an answer is stored even for `store: false`, since its caller has no other way to get it.
    """

    for_later: bool
    kept: bool

    def answer(self, last: bytes, *, stream: bool) -> KeptAnswer | None:
        """Returns the answer to store, when `last` is all that remains to be sent."""
        ...

    def keeping(
        self, answer: KeptAnswer | None, made_id: str, told_of: Mapping[str, str | None], then: Then | None
    ) -> Then:
        """Returns `then` with a step that stores the answer in the same transaction."""
        ...

    async def pin(self) -> None:
        """Called before an effect that must not be repeated; raises `ApiError`."""
        ...


class Hold:
    """A request's hold on its key, and the part of the answer sent so far."""

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
        """Records sent data, up to the limit for stored answers."""
        self._size += len(data)
        if self._size <= MAX_BODY:
            self._sent.append(data)

    def answer(self, last: bytes, *, stream: bool) -> KeptAnswer | None:
        """Returns the answer, when `last` is all that remains to be sent; None if it is too large."""
        if self._size + len(last) > MAX_BODY:
            return None
        kind = "text/event-stream; charset=utf-8" if stream else "application/json"
        return KeptAnswer(kind, b"".join([*self._sent, last]))

    def keeping(
        self, answer: KeptAnswer | None, made_id: str, told_of: Mapping[str, str | None], then: Then | None
    ) -> Then:
        """Returns `then` with a step that stores the answer in the same transaction."""

        def both(connection: Connection, added: Sequence[Item]) -> None:
            if then is not None:
                then(connection, added)
            keep(connection, self._claim, answer, made_id, told_of)

        return both

    async def pin(self) -> None:
        """Makes the hold permanent: the next effect must not be repeated. Raises `ApiError` if the hold is lost."""
        async with self._prolonging:
            if self._pinned:
                return
            try:
                await self._keys.pin(self._claim)
            except LeaseLost:
                raise conflict("Another request with this Idempotency-Key took over.") from None
            self._pinned = True

    async def renew(self) -> None:
        """Renews the hold until cancelled."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            async with self._prolonging:
                if self._pinned:
                    return
                try:
                    await self._keys.renew(self._claim)
                except StoreUnavailable as e:
                    log.warning("an idempotency key cannot be renewed: %s", e)
                except LeaseLost:  # neither the answer nor its effects will be stored
                    return

    async def release(self) -> None:
        """Releases the key, unless the answer was stored or the hold is permanent."""
        if self.kept:
            return
        try:
            if self._pinned:
                await self._keys.keep(self._claim, None, None, {})
            else:
                await self._keys.release(self._claim)
        except StoreError as e:
            log.warning("an idempotency key is released only after %d s: %s", LEASE_S, e)
