"""Assignment of llama.cpp's slots to owners, depending on the cached prompts.

A slot keeps the tokens of its last request, and a following request with the same beginning need not read these again.
A slot with another owner's tokens is cleared before it is assigned.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Slot:
    number: int
    owner: str = ""
    user: str = ""
    leases: int = 0
    used: int = 0  # larger values are later
    foreign: bool = False  # contains tokens of another owner
    clearing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Slots:
    """Assigns `count` slots; `clear` empties one of them, by number.

    Leases of the same owner may share a slot, where the engine processes them one after the other; leases of different
    owners never do. If there is no slot, callers wait in the order of arrival.
    """

    def __init__(self, count: int, clear: Callable[[int], Awaitable[None]]) -> None:
        self._slots = [_Slot(number) for number in range(count)]
        self._clear = clear
        self._waiting: deque[tuple[asyncio.Future[_Slot], str, str]] = deque()
        self._uses = 0

    @asynccontextmanager
    async def hold(self, owner: str, user: str) -> AsyncIterator[int]:
        """Yields the number of a slot without tokens of other owners, preferably the `user`'s last one.

        Raises what `clear` raises; the slot is then cleared for its next owner.
        """
        slot = await self._take(owner, user)
        try:
            async with slot.clearing:  # leases that share it must not send requests before it is cleared
                if slot.foreign:
                    await self._clear(slot.number)
                    slot.foreign = False
            yield slot.number
        finally:
            self._give_back(slot)

    async def _take(self, owner: str, user: str) -> _Slot:
        slot = None if self._waiting else self._find(owner, user)
        if slot is not None:
            return slot
        turn: asyncio.Future[_Slot] = asyncio.get_running_loop().create_future()
        entry = turn, owner, user
        self._waiting.append(entry)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(turn.result())
            else:
                self._waiting.remove(entry)
                self._serve()
            raise

    def _find(self, owner: str, user: str) -> _Slot | None:
        """Returns the best slot: free and the user's last, else free and longest unused, else another one of the
        owner's.
        """
        free = [slot for slot in self._slots if not slot.leases]
        own = [slot for slot in self._slots if slot.owner == owner]
        last = [slot for slot in own if slot.user == user and not slot.leases]
        if last:
            slot = max(last, key=lambda s: s.used)
        elif free:
            slot = min(free, key=lambda s: s.used)
        elif own:
            slot = min(own, key=lambda s: s.leases)
        else:
            return None
        self._uses += 1
        slot.foreign = slot.foreign or (bool(slot.owner) and slot.owner != owner)
        slot.owner, slot.user, slot.used = owner, user, self._uses
        slot.leases += 1
        return slot

    def _give_back(self, slot: _Slot) -> None:
        slot.leases -= 1
        self._serve()

    def _serve(self) -> None:
        """Assigns slots to those who wait, in the order of arrival."""
        while self._waiting:
            turn, owner, user = self._waiting[0]
            slot = self._find(owner, user)
            if slot is None:
                return
            self._waiting.popleft()
            turn.set_result(slot)
