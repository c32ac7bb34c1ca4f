"""Places for work that tenants share, so that none of them takes all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class SharedPlaces:
    """`places` at once, of which one tenant has at most `each`. Not thread-safe.

    A free place goes to the waiting tenant that has the fewest, and among those to whoever has waited longest.
    """

    def __init__(self, places: int, each: int) -> None:
        self._free = places
        self._each = each
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Holds a place of the tenant's, after waiting for one."""
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((tenant, given))
        self._give()
        try:
            await given
            yield
        finally:
            if given.done() and not given.cancelled():
                self._free += 1
                self._held[tenant] -= 1
                self._give()

    def _give(self) -> None:
        self._waiting = [one for one in self._waiting if not one[1].done()]
        while self._free:
            able = [one for one in self._waiting if self._held[one[0]] < self._each]
            if not able:
                return
            tenant, given = chosen = min(able, key=lambda one: self._held[one[0]])
            self._waiting.remove(chosen)
            self._free -= 1
            self._held[tenant] += 1
            given.set_result(None)
