"""Who has which of llama.cpp's slots, and whose prompt each still holds.

A slot keeps the tokens of its last request, and the next one that begins with the same need not read them again. What
one owner leaves in a slot is cleared before another gets it.
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
    used: int = 0  # the greater the later
    foreign: bool = False  # holds what another owner left
    clearing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Slots:
    """`count` slots; `clear` empties one of them, by its number.

    An owner's leases may share a slot, whose engine answers one after the other; those of different owners never do.
    Who finds no slot waits, and nobody who came later is served before.
    """

    def __init__(self, count: int, clear: Callable[[int], Awaitable[None]]) -> None:
        self._slots = [_Slot(number) for number in range(count)]
        self._clear = clear
        self._waiting: deque[tuple[asyncio.Future[_Slot], str, str]] = deque()
        self._uses = 0

    @asynccontextmanager
    async def hold(self, owner: str, user: str) -> AsyncIterator[int]:
        """Holds a slot without anything of another `owner` in it, if possible the `user`'s last, and yields its number.

        Raises what `clear` raises; the slot is then cleared for whoever gets it next.
        """
        slot = await self._take(owner, user)
        try:
            async with slot.clearing:  # a lease that shares it must not be asked for before
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
        """Takes the best slot: free and the user's last, else free and longest unused, else one of the owner's."""
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
        """Gives slots to those who wait, in the order in which they came."""
        while self._waiting:
            turn, owner, user = self._waiting[0]
            slot = self._find(owner, user)
            if slot is None:
                return
            self._waiting.popleft()
            turn.set_result(slot)
