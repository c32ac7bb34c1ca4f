"""A cache with time to live, so that not every request asks the store."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class TtlCache(Generic[T]):
    """Caches at most `size` values for `ttl_s` seconds each; the oldest is evicted first."""

    def __init__(self, ttl_s: float, size: int) -> None:
        self._ttl_s = ttl_s
        self._size = size
        self._items: OrderedDict[bytes, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, digest: bytes) -> T | None:
        item = self._items.get(digest)
        if item is None:
            return None
        if item[0] <= time.monotonic():
            del self._items[digest]
            return None
        return item[1]

    def put(self, digest: bytes, value: T, ttl_s: float | None = None) -> None:
        ttl = self._ttl_s if ttl_s is None else min(ttl_s, self._ttl_s)
        self._items.pop(digest, None)
        self._items[digest] = (time.monotonic() + ttl, value)
        if len(self._items) > self._size:
            self._items.popitem(last=False)
