"""What every engine replica has in common: requests reach it by a lease, so that Serve counts and spreads them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from serving.telemetry import engines, metrics
from serving.telemetry.values import FOLDER

FAILURES = 3
"""Health checks in a row that fail before Serve replaces a replica, which has no setting for it."""
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy that the environment names must not stand between a replica and its own engine, nor read its key."""

log = logging.getLogger("headrace.engines")


def node_address() -> str:
    """The address under which other nodes reach this one: the pod's, or loopback on a stack of one host."""
    import ray.util  # only where a replica runs

    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


class EngineReplica:
    """A replica that holds one OpenAI-compatible HTTP server.

    `engine` names it in messages, `url` is its address without a path, `key` what it wants to be asked with,
    `slots` how many requests it decodes together, and `started` when it began to load (`time.perf_counter()`).
    `adapters` are the names of those that it must serve beside its model. The names of its own metrics begin with
    `prefix`.
    """

    def __init__(
        self,
        engine: str,
        model: str,
        *,
        prefix: str,
        url: str,
        key: str,
        slots: int,
        started: float,
        adapters: Sequence[str] = (),
    ) -> None:
        self._engine = engine
        self._model = model
        self._url = url
        self._key = key
        self._slots = slots
        self._adapters = {name: metrics.adapter_missing.labels(model, name) for name in adapters}
        self._unread = False
        self._said = engines.MetricsSnapshot(Path(FOLDER) if FOLDER is not None else None, prefix, model)
        self._restarts = metrics.engine_restarts.labels(model)
        self._busy = metrics.engine_busy_seconds.labels(model)
        self._available = metrics.engine_available_seconds.labels(model)
        self._leased = 0
        self._booked_at = time.monotonic()
        self._answers = True
        self._failures = 0  # checks in a row
        self._leases = metrics.engine_leases.labels(model)
        self._up = metrics.engine_up.labels(model)
        metrics.engine_slots.labels(model).set(slots)
        metrics.engine_load_seconds.labels(model).set(time.perf_counter() - started)
        self._up.set(1)

    async def lease(self, owner: str, user: str) -> AsyncIterator[dict[str, Any]]:
        """Yields this replica's address and key once and holds a place until the caller cancels.

        `owner` shares what the engine keeps of prompts with nobody of another name, and `user` is one of those.
        """
        self._lease(1)
        try:
            async with self._place(owner, user) as place:
                yield {"url": f"{self._url}/v1", "key": self._key, **place}
                await asyncio.Event().wait()
        finally:
            self._lease(-1)

    def _place(self, owner: str, user: str) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Holds what a lease grants beside the address: here nothing."""
        return contextlib.nullcontext({})

    def _lease(self, change: int) -> None:
        self.book(time.monotonic())
        self._leased += change
        self._leases.inc(change)

    def book(self, at: float) -> None:
        """Books the slots' time until `at` (`time.monotonic()`): what was leased, and what there was.

        An engine that does not answer has no slots.
        """
        seconds = max(at - self._booked_at, 0.0)
        self._booked_at = at
        if not self._answers:
            return
        self._busy.inc(min(self._leased, self._slots) * seconds)
        self._available.inc(self._slots * seconds)

    async def check_health(self) -> None:
        """Raises when the engine does not answer; Serve replaces the replica after `FAILURES` times in a row."""
        try:
            await asyncio.to_thread(self._ask_health)
        except (OSError, http.client.HTTPException) as e:
            self._fail()
            raise RuntimeError(f"{self._engine} does not answer: {e}") from e
        self._up.set(1)
        self.book(time.monotonic())
        self._answers = True
        self._failures = 0

    def _fail(self, *, for_good: bool = False) -> None:
        """Takes note of a failed check; an engine that failed for good or too often is counted, once."""
        self._up.set(0)
        self._answers = False
        before = self._failures
        self._failures = max(before + 1, FAILURES) if for_good else before + 1
        if before < FAILURES <= self._failures:
            self._restarts.inc()
            self._said.forget()

    def _ask_health(self) -> None:
        with contextlib.closing(OPENER.open(f"{self._url}/health", timeout=5)):
            pass
        # An engine that answers is not replaced for what it says here.
        if self._adapters:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
                served = {each["id"] for each in json.loads(self._ask("/v1/models"))["data"]}
                for name, missing in self._adapters.items():
                    missing.set(name not in served)
        self._pass_on()

    def _pass_on(self) -> None:
        """Passes on what the engine counts, if it can be read."""
        try:
            self._said.write(self._ask("/metrics").decode())
        except Exception as e:
            if not self._unread:
                log.warning("what %s of %s counts cannot be passed on: %r", self._engine, self._model, e)
            self._unread = True
        else:
            self._unread = False

    def _ask(self, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(f"{self._url}{path}", headers=headers)  # noqa: S310
        with contextlib.closing(OPENER.open(request, timeout=5)) as response:
            said: bytes = response.read(engines.MAX_BYTES + 1)
        if len(said) > engines.MAX_BYTES:
            raise ValueError(f"{path} answers more than {engines.MAX_BYTES} bytes")
        return said
