"""What every engine replica has in common: requests reach it by a lease, so that Serve counts and spreads them."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator

from serving.telemetry import metrics


def node_address() -> str:
    """The address under which other nodes reach this one: the pod's, or loopback on a stack of one host."""
    import ray.util  # only where a replica runs

    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


class EngineReplica:
    """A replica that holds one OpenAI-compatible HTTP server.

    `engine` names it in messages, `url` is its address without a path, `key` what it wants to be asked with,
    `slots` how many requests it decodes together, and `started` when it began to load (`time.perf_counter()`).
    """

    def __init__(self, engine: str, model: str, *, url: str, key: str, slots: int, started: float) -> None:
        self._engine = engine
        self._url = url
        self._key = key
        self._leases = metrics.engine_leases.labels(model)
        self._up = metrics.engine_up.labels(model)
        metrics.engine_slots.labels(model).set(slots)
        metrics.engine_load_seconds.labels(model).set(time.perf_counter() - started)
        self._up.set(1)

    async def lease(self) -> AsyncIterator[dict[str, str]]:
        """Yields this replica's address and key once and holds a place until the caller cancels."""
        self._leases.inc()
        try:
            yield {"url": f"{self._url}/v1", "key": self._key}
            await asyncio.Event().wait()
        finally:
            self._leases.dec()

    async def check_health(self) -> None:
        """Raises when the engine does not answer; Serve then replaces the replica."""
        try:
            await asyncio.to_thread(self._ask_health)
        except OSError as e:
            self._up.set(0)
            raise RuntimeError(f"{self._engine} does not answer: {e}") from e
        self._up.set(1)

    def _ask_health(self) -> None:
        with contextlib.closing(urllib.request.urlopen(f"{self._url}/health", timeout=5)):  # noqa: S310
            pass
