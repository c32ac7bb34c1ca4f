"""The base of engine replicas: requests reach them through leases, so that Serve counts and distributes them."""

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
from typing import Any, ClassVar, NamedTuple

from serving.engines.child_program import ChildProgram
from serving.telemetry import engines, metrics
from serving.telemetry.values import FOLDER

FAILURES = 3
"""Number of failed health checks in a row after which Serve replaces a replica; Serve has no setting for it."""
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Proxies from the environment must not be used between a replica and its own engine, nor see its key."""

log = logging.getLogger("headrace.engines")


def node_address() -> str:
    """Returns the address under which other nodes reach this one: the pod's, or loopback for a stack on one host."""
    import ray.util  # only replicas need it

    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


class EngineServer(NamedTuple):
    """An engine's server: its address without a path, and its API key."""

    url: str
    key: str


class EngineReplica:
    """A replica with one OpenAI-compatible HTTP server.

    `engine` is its name in messages, `url` its address without a path, `key` its API key, `slots` the number of
    requests that it decodes at once, and `started` when it began to load (`time.perf_counter()`). `adapters` are the
    names of the adapters that it must serve. The names of its own metrics begin with `prefix`.
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
        self._server = EngineServer(url, key)
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
        self._failures = 0  # failed checks in a row
        self._leases = metrics.engine_leases.labels(model)
        self._up = metrics.engine_up.labels(model)
        metrics.engine_slots.labels(model).set(slots)
        metrics.engine_load_seconds.labels(model).set(time.perf_counter() - started)
        self._up.set(1)

    async def lease(self, owner: str, user: str, adapter: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yields what a request needs to reach this replica once, and occupies a slot until the caller cancels.

        `owner` shares cached prompts only with callers of the same owner; `user` is one of these. `adapter` is one of
        the model's live set. Without it here, what is yielded has no address, only a field `lacks`.
        """
        self._lease(1)
        try:
            async with self._place(owner, user, adapter) as place:
                yield place
                await asyncio.Event().wait()
        finally:
            self._lease(-1)

    def _place(self, owner: str, user: str, adapter: str | None) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Yields what a lease grants: by default the address and the key, and no adapter."""
        return contextlib.nullcontext(granted(self._server) if adapter is None else {"lacks": adapter})

    def _lease(self, change: int) -> None:
        self.book(time.monotonic())
        self._leased += change
        self._leases.inc(change)

    def book(self, at: float) -> None:
        """Records the slot time until `at` (`time.monotonic()`): leased and available. An engine that does not answer
        has no available slots.
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
        """Counts a failed check; an engine that failed for good or too often is reported once."""
        self._up.set(0)
        self._answers = False
        before = self._failures
        self._failures = max(before + 1, FAILURES) if for_good else before + 1
        if before < FAILURES <= self._failures:
            self._restarts.inc()
            self._said.forget()

    def _ask_health(self) -> None:
        with contextlib.closing(OPENER.open(f"{self._server.url}/health", timeout=5)):
            pass
        # An engine that answers is not replaced because of its metrics.
        if self._adapters:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
                served = {each["id"] for each in json.loads(self._ask("/v1/models"))["data"]}
                for name, missing in self._adapters.items():
                    missing.set(name not in served)
        self._pass_on()

    def _pass_on(self) -> None:
        """Exports the engine's own metrics, if they can be read."""
        try:
            self._said.write(self._ask("/metrics").decode())
        except Exception as e:
            if not self._unread:
                log.warning("the metrics of %s of %s cannot be exported: %r", self._engine, self._model, e)
            self._unread = True
        else:
            self._unread = False

    def _ask(self, path: str) -> bytes:
        server = self._server
        headers = {"Authorization": f"Bearer {server.key}"}
        request = urllib.request.Request(f"{server.url}{path}", headers=headers)  # noqa: S310
        with contextlib.closing(OPENER.open(request, timeout=5)) as response:
            said: bytes = response.read(engines.MAX_BYTES + 1)
        if len(said) > engines.MAX_BYTES:
            raise ValueError(f"{path} answers more than {engines.MAX_BYTES} bytes")
        return said


def granted(server: EngineServer, **more: Any) -> dict[str, Any]:
    """Returns what a lease grants for requests to `server`, with additional fields."""
    return {"url": f"{server.url}/v1", "key": server.key, **more}


class ProgramReplica(EngineReplica):
    """A replica whose server is a child program, which ends with the replica, however the replica ends.

    A subclass sets `_program` before it calls `super().__init__`, and `failure` to what is raised once that has ended.
    """

    failure: ClassVar[type[Exception]]
    _program: ChildProgram

    async def check_health(self) -> None:
        """Raises when the program has ended or does not answer; Serve replaces the replica after the third time."""
        if reason := self._program.ended():
            self._fail(for_good=True)
            raise self.failure(reason)
        await super().check_health()

    def close(self) -> None:
        """Ends the program, and waits until it has."""
        self._program.close()

    def __del__(self) -> None:
        if hasattr(self, "_program"):
            self.close()
