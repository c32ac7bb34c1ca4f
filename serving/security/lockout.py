"""Rate-limits attempts with unknown keys: after a few, an address waits longer after each further one."""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

FREE = 10
"""Number of unknown keys that an address may try before it must wait."""
LONGEST_S = 300
"""The longest wait: the first takes a second, and each further one twice as long."""
FORGOTTEN_S = 900
"""Time without attempts after which an address starts anew."""
TOGETHER = 4
"""Number of keys per address that are looked up at once: others wait, so that the limit cannot be exceeded."""
PREFIX_V6 = 64
"""Prefix length of IPv6 addresses that counts as one caller, who can choose the rest freely."""


class LockedOut(Exception):
    """The address tried too many unknown keys; `retry_after_s` is its remaining wait."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many keys from this address were not valid; try again later")
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _Address:
    wrong: int = 0
    until: float = 0
    forgotten: float = 0
    asking: int = 0
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TOGETHER))

    def check(self) -> None:
        left = self.until - monotonic()
        if left > 0:
            raise LockedOut(math.ceil(left))

    def add(self) -> None:
        at = monotonic()
        self.wrong = 1 if at > self.forgotten else self.wrong + 1
        self.forgotten = at + FORGOTTEN_S
        if self.wrong >= FREE:
            self.until = at + min(2.0 ** min(self.wrong - FREE, 30), LONGEST_S)


class Lockout:
    """Attempts of at most `size` addresses; the longest inactive ones are dropped first."""

    def __init__(self, size: int = 16_384) -> None:
        self._size = size
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    def __len__(self) -> int:
        return len(self._addresses)

    @asynccontextmanager
    async def look_up(self, address: str) -> AsyncIterator[Try]:
        """Lets a key of `address` be looked up; `Try.wrong()` reports that it is unknown.

        Raises `LockedOut` immediately for an address that must wait.
        """
        name = network(address)
        known = self._addresses.get(name)
        if known is None:
            known = self._addresses[name] = _Address()
            self._forget()
        self._addresses.move_to_end(name)
        known.asking += 1
        try:
            known.check()
            async with known.turn:
                known.check()  # earlier look-ups may have reached the limit
                yield Try(known)
        finally:
            known.asking -= 1

    def _forget(self) -> None:
        for name, known in list(self._addresses.items())[: max(len(self._addresses) - self._size, 0)]:
            if not known.asking:
                del self._addresses[name]


class Try:
    """One key that is looked up."""

    def __init__(self, address: _Address) -> None:
        self._address = address

    def wrong(self) -> None:
        """Reports that the key is unknown."""
        self._address.add()


def network(address: str) -> str:
    """Returns the caller's identity for limits: the address, or its IPv6 network.

    Some proxies, such as Azure's Application Gateway, append a port.
    """
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), PREFIX_V6), strict=False))
    return str(parsed)
