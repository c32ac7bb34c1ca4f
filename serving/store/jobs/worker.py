"""Runs jobs: claim, handle, heartbeat in the background, end. One asyncio loop, several jobs concurrently."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import finish
from serving.store.errors import LeaseLost, StoreUnavailable
from serving.store.jobs.queue import Job, Jobs, Json

log = logging.getLogger(__name__)


class PermanentError(Exception):
    """Raised by a handler when a retry cannot help; `message` is shown to the tenant."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ExternalError(Exception):
    """Raised by a handler for a failure outside of the platform: the job is tried again after `delay_s`, without a line
    in the log unless it was the last attempt. `message` is shown to the tenant.
    """

    def __init__(self, code: str, message: str, delay_s: float) -> None:
        super().__init__(message)
        self.code = code
        self.delay_s = delay_s


class Postponed(Exception):
    """Raised by a handler that must wait for other jobs: it is called again after `delay_s`, and the attempt does not
    count.
    """

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"postponed by {delay_s} s")
        self.delay_s = delay_s


class JobContext:
    """The arguments of a handler: the job, its principal, and a way to report progress."""

    def __init__(self, jobs: Jobs, job: Job, lease_s: float) -> None:
        self._jobs = jobs
        self._lease_s = lease_s
        self.job = job

    @property
    def principal(self) -> Principal:
        return self.job.principal

    async def progress(self, done: int, total: int, message: str = "") -> None:
        """Records progress and renews the lease.

        Raises `LeaseLost` when the job was cancelled or taken over: call it (or `check`) right before an irreversible
        step.
        """
        await self._jobs.heartbeat(self.job, self._lease_s, done=done, total=total, message=message)

    async def check(self) -> None:
        """Raises `LeaseLost` when the job was cancelled or taken over; renews the lease otherwise."""
        await self._jobs.heartbeat(self.job, self._lease_s)


Handler = Callable[[JobContext], Awaitable[Json | None]]
"""Runs one job and returns its result. It must be idempotent, since it may run twice.

It is cancelled when the job is; blocking work belongs in `asyncio.to_thread`, since it would block heartbeats.
"""


class Worker:
    """Claims and runs jobs of the kinds that have a handler, at most `concurrency` at once, optionally of one `lane`.

    At most `each` of them are one tenant's, by default all: if it is less, others are served even while all jobs of
    one tenant take long.
    `run()` returns after `stop()`; jobs still running then are cancelled and requeued.
    """

    def __init__(
        self,
        jobs: Jobs,
        handlers: Mapping[str, Handler],
        *,
        owner: str | None = None,
        lane: str | None = None,
        concurrency: int = 1,
        each: int | None = None,
        lease_s: float = 30,
        poll_s: float = 0.5,
    ) -> None:
        self._jobs = jobs
        self._handlers = dict(handlers)
        self._owner = owner or f"{socket.gethostname()}/{os.getpid()}"
        self._lane = lane
        self._concurrency = concurrency
        self._each = concurrency if each is None else each
        self._running: Counter[str] = Counter()  # by tenant
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._stopping = asyncio.Event()
        self._looking = asyncio.Lock()

    def stop(self) -> None:
        """Asks `run()` to end; may be called repeatedly."""
        self._stopping.set()

    async def run(self) -> None:
        """Works until `stop()`. It waits while the store is unavailable."""
        slots = [asyncio.create_task(self._slot()) for _ in range(self._concurrency)]
        try:
            await self._stopping.wait()
        finally:
            for slot in slots:
                slot.cancel()
            await asyncio.gather(*slots, return_exceptions=True)

    async def _slot(self) -> None:
        while not self._stopping.is_set():
            async with self._looking:  # one idle slot polls for all
                try:
                    job = await self._claim()
                except Exception as e:  # a worker survives any problem of the database
                    log.warning("no jobs can be claimed: %s", e, exc_info=not isinstance(e, StoreUnavailable))
                    job = None
                if job is None:
                    await asyncio.sleep(self._poll_s)
                else:
                    self._running[job.tenant] += 1
            if job is not None:
                try:
                    await self._work(job)
                finally:
                    self._running[job.tenant] -= 1

    async def _claim(self) -> Job | None:
        """Claims a job. A job claimed during a stop is released, since its lease would have to expire otherwise."""
        served = frozenset(tenant for tenant, number in self._running.items() if number >= self._each)
        claiming = asyncio.ensure_future(
            self._jobs.claim(list(self._handlers), self._owner, self._lease_s, lane=self._lane, without=served)
        )
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            try:
                if (job := await claiming) is not None:
                    await self._jobs.release(job)
            except Exception:  # the lease expires and the job is tried again
                log.exception("a job claimed during shutdown cannot be released")
            raise

    async def _work(self, job: Job) -> None:
        """Runs one job to its end. If the result cannot be written, the lease expires."""
        context = JobContext(self._jobs, job, self._lease_s)
        handling = asyncio.ensure_future(self._handlers[job.kind](context))
        beating = asyncio.create_task(self._beat(job))
        try:
            await asyncio.wait([handling, beating], return_when=asyncio.FIRST_COMPLETED)
        finally:
            interrupted = not handling.done()
            handling.cancel()
            beating.cancel()
            # Shielded: a job that is released at shutdown must be written before the process ends.
            await finish(self._end(job, handling, beating, interrupted))

    async def _end(
        self,
        job: Job,
        handling: asyncio.Future[Json | None],
        beating: asyncio.Task[None],
        interrupted: bool,
    ) -> None:
        await asyncio.gather(handling, beating, return_exceptions=True)
        try:
            if handling.cancelled():
                if interrupted:
                    await self._jobs.release(job)
                else:  # the handler's own fault
                    await self._jobs.fail(job, "the handler cancelled itself")
            elif (error := handling.exception()) is None:
                await self._jobs.complete(job, handling.result())
            elif isinstance(error, LeaseLost):
                await self._jobs.release(job)
            elif isinstance(error, Postponed):
                await self._jobs.release(job, delay_s=error.delay_s)
            elif isinstance(error, PermanentError):
                await self._jobs.fail(job, error.message, code=error.code, retryable=False)
            elif isinstance(error, ExternalError):
                ended = await self._jobs.fail(job, str(error), code=error.code, delay_s=error.delay_s)
                if ended.status == "failed":
                    log.warning("%s %s was given up after %d attempts: %s", job.kind, job.id, job.attempts, error)
            else:
                log.error("%s %s failed (attempt %d)", job.kind, job.id, job.attempts, exc_info=error)
                await self._jobs.fail(job, f"{type(error).__name__}: {error}")
        except LeaseLost:
            log.warning("%s %s was taken over by another worker", job.kind, job.id)
        except Exception:  # the lease expires and the job is tried again
            log.exception("the end of %s %s cannot be written", job.kind, job.id)

    async def _beat(self, job: Job) -> None:
        """Renews the lease until the job is lost, or no renewal could be written for a whole lease."""
        alive_until = now() + self._lease_s
        while now() < alive_until:
            await asyncio.sleep(self._lease_s / 3)
            with contextlib.suppress(StoreUnavailable):
                try:
                    await self._jobs.heartbeat(job, self._lease_s)
                except LeaseLost:
                    return
                alive_until = now() + self._lease_s
