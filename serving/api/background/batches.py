"""Processes batches: jobs that any gateway may run, which answer each line once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Literal

from serving.api.background.batch_input import InputLine, body_of, read_lines
from serving.api.background.batch_output import FULL, LineHold, full_error, output_lines
from serving.config import Limits
from serving.core.ids import new_id, new_request_id, now
from serving.core.principal import Principal
from serving.inference.detached_exchange import DetachedExchange
from serving.metering.charge import require_storage, storage_meter
from serving.metering.keeper import Keeper
from serving.protocol.errors import ApiError
from serving.security.absent_callers import AbsentCallers, NotAllowedAnyMore
from serving.store.access import Access
from serving.store.background.batches import (
    BATCH,
    MAX_OUTPUT,
    Batch,
    Batches,
    BatchStatus,
    Line,
)
from serving.store.errors import LeaseLost, NotFound
from serving.store.files import Files
from serving.store.jobs.counted import counted
from serving.store.jobs.job import Json
from serving.store.jobs.worker import Handler, JobContext, Postponed
from serving.store.objects.blobs import Blobs
from serving.store.quotas import QuotaStore
from serving.store.relational.database import Database
from serving.telemetry import metrics

LINES_KIND = "application/jsonl"

WATCH_S = 1.0
"""Interval of checks whether a batch is cancelled or has expired."""

TURN_S = 60.0
"""Duration of a turn, after which no line begins, so that other tenants get their turn: a gateway processes few batches
at once.
"""

TRIES = 4
"""Error codes of a line whose model cannot be asked now."""

WAIT_S = 30.0
"""Maximum wait before a line is retried."""

_BUSY = ("overloaded", "rate_limit_exceeded")
_DOWN = ("unavailable", "engine_error", "engine_timeout")

Stopped = Literal["cancelled", "expired", "forbidden", "gone"]
"""Reasons to stop lines in progress. At the end of a turn they continue: each would be charged and asked again."""

Reason = Stopped | Literal["turn"]

_FORBIDDEN = {
    "code": "insufficient_scope",
    "message": "The batch's creator no longer has access.",
    "line": None,
    "param": None,
}
_NO_FILE = {
    "code": "not_found",
    "message": "The input file no longer exists.",
    "line": None,
    "param": "input_file_id",
}


class _Turn:
    """The lines of a batch that have not begun, until its turn is over."""

    def __init__(self, lines: Iterable[InputLine]) -> None:
        self.left = deque(lines)
        self.over = asyncio.Event()

    def next(self) -> InputLine | None:
        """Takes the next line, or None if no line is to begin."""
        return self.left.popleft() if self.left and not self.over.is_set() else None

    async def wait(self, seconds: float) -> None:
        """Waits, at most until the turn is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)


class BatchRunner:
    """The job that processes a batch: it reads the file, answers its lines and writes the output files.

    The number of concurrent lines of a batch is that of the slots for background requests.
    """

    def __init__(
        self,
        database: Database,
        store: Batches,
        files: Files,
        blobs: Blobs,
        callers: AbsentCallers,
        limits: Limits,
        quotas: QuotaStore,
        keeper: Keeper,
    ) -> None:
        self._database = database
        self._store = store
        self._files = files
        self._blobs = blobs
        self._callers = callers
        self._limits = limits
        self._quotas = quotas
        self._keeper = keeper
        self._routes: Mapping[str, Any] = {}
        self._ready = asyncio.Event()
        self.handlers: dict[str, Handler] = {BATCH: counted(self._work)}

    def serve(self, routes: Mapping[str, Any]) -> None:
        """Sets the functions that answer requests, by route; see `line_requests`. No batch begins before."""
        self._routes = routes
        self._ready.set()

    async def _work(self, context: JobContext) -> Json | None:
        await self._ready.wait()
        try:
            batch = await self._store.get(context.principal, context.job.payload["batch_id"])
        except NotFound:  # its user was erased
            return None
        if batch.ended:
            return None
        caller = await self._caller(batch)
        try:
            if caller is None:
                raise NotAllowedAnyMore
            await self._files.get(caller, batch.input_file_id)
            content = await self._blobs.read(caller, batch.input_file_id)
        except (NotAllowedAnyMore, NotFound) as e:
            await self._finish(batch, "failed", [], [_NO_FILE if isinstance(e, NotFound) else _FORBIDDEN])
            return None
        lines, errors = await asyncio.to_thread(read_lines, content, batch.endpoint, self._limits)
        if errors:
            await self._finish(batch, "failed", [], errors)
            return None
        await self._store.begin(batch, len(lines))
        try:
            reason = await self._answer(batch, caller, content, lines)
        except FULL as e:  # nothing about the other lines, which would be stored too
            await self._finish(batch, "failed", lines, [full_error(e)], tells_unanswered=False)
            return None
        if reason == "turn":
            raise Postponed(0)
        if reason == "forbidden":
            await self._finish(batch, "failed", lines, [_FORBIDDEN])
        elif reason != "gone":
            await self._finish(batch, reason or "completed", lines)
        return None

    async def _caller(self, batch: Batch) -> Principal | None:
        try:
            caller = await self._callers.again(batch.tenant, batch.user, batch.caller)
        except NotAllowedAnyMore:
            return None
        return caller if "inference" in caller.scopes else None

    async def _answer(
        self, batch: Batch, caller: Principal, content: bytes, lines: Sequence[InputLine]
    ) -> Reason | None:
        """Answers the remaining lines; returns why it stopped before the last, or None if it did not.

        Raises one of `FULL`.
        """
        answered = await self._store.answered(batch.id)
        turn = _Turn(line for line in lines if line.number not in answered)
        working = [
            asyncio.create_task(self._answer_some(batch, caller, content, turn))
            for _ in range(self._limits.background_in_flight)
        ]
        every = asyncio.create_task(_all(working))
        watching = asyncio.create_task(self._watch(batch, turn))
        try:
            await asyncio.wait([every, watching], return_when=asyncio.FIRST_COMPLETED)
            if every.done():
                every.result()
                return "turn" if turn.left else None
            return watching.result()
        finally:
            watching.cancel()
            for task in working:
                task.cancel()
            await asyncio.gather(*working, watching, every, return_exceptions=True)

    async def _watch(self, batch: Batch, turn: _Turn) -> Stopped:
        until = now() + TURN_S
        while True:
            status = await self._store.status(batch.id)
            if status is None:
                return "gone"
            if status == "cancelling":
                return "cancelled"
            if now() > batch.expires_at:
                return "expired"
            if await self._caller(batch) is None:
                return "forbidden"
            if now() > until:
                turn.over.set()
            await asyncio.sleep(WATCH_S)

    async def _answer_some(self, batch: Batch, caller: Principal, content: bytes, turn: _Turn) -> None:
        while (line := turn.next()) is not None:
            await require_storage(self._quotas, self._keeper, caller, stored_bytes=1)  # before a model is asked
            await self._answer_line(batch, caller, line, await asyncio.to_thread(body_of, content, line), turn)

    async def _answer_line(self, batch: Batch, caller: Principal, line: InputLine, body: bytes, turn: _Turn) -> None:
        """Answers a line. A line to retry is put back at the end of the turn, since its model may be busy for hours."""
        tries = 0
        while True:
            x = DetachedExchange(new_request_id(), caller)
            x.hold = hold = LineHold(
                batch, line, x, lambda size: storage_meter(self._keeper, caller, stored_bytes=size)
            )
            answer = await self._routes[batch.endpoint](body, x)
            if hold.full is not None:
                raise hold.full
            wait = _wait(answer.error, tries) if not hold.kept else None
            if wait is not None and answer.error.code in _DOWN:  # few retries, which count within this turn
                tries += 1
                await asyncio.sleep(wait)
                continue
            if wait is not None:
                await turn.wait(wait)
                if turn.over.is_set():
                    turn.left.append(line)
                    return
                continue
            if not hold.kept:
                await self._store.answer(batch, *hold.counted(answer.status, answer.body))
            metrics.batch_lines.labels("completed" if hold.kept or answer.status < 400 else "failed").inc()
            return

    async def _finish(
        self,
        batch: Batch,
        status: BatchStatus,
        lines: Sequence[InputLine],
        errors: Sequence[Json] = (),
        *,
        tells_unanswered: bool = True,
    ) -> None:
        """Writes the output files of a batch and ends it, in one transaction."""
        owner = Principal(batch.tenant, batch.user, batch.id)
        unanswered = status if tells_unanswered else None
        texts = {
            "output": output_lines(self._pages(batch), lines, lambda code: code < 400),
            "error": output_lines(self._pages(batch), lines, lambda code: code >= 400, unanswered),
        }
        told = [await self._write(owner, batch, kind, text) for kind, text in texts.items()]

        async def end() -> None:
            for id, name, blob in (each for each in told if each is not None):
                await self._files.create(
                    owner,
                    id,
                    filename=name,
                    purpose="batch_output",
                    bytes=blob.bytes,
                    sha256=blob.sha256,
                    kind=LINES_KIND,
                    access=Access(),
                )
            output, error = (each[0] if each is not None else None for each in told)
            if not await self._store.finish(batch, status, output_file_id=output, error_file_id=error, errors=errors):
                raise LeaseLost(batch.id)

        try:
            await self._database.atomically(end)
        except LeaseLost:  # it was deleted, or another gateway did it first
            for each in told:
                if each is not None:
                    await self._blobs.delete(owner, each[0])

    async def _write(
        self, owner: Principal, batch: Batch, kind: str, text: AsyncIterator[bytes]
    ) -> tuple[str, str, Any] | None:
        """Writes an output file; returns None if there are no lines."""
        id = new_id("file")
        # Its answers are within MAX_OUTPUT, beside lines without one.
        blob = await self._blobs.write(owner, id, text, max_bytes=2 * MAX_OUTPUT)
        if blob.bytes:
            return id, f"{batch.id}_{kind}.jsonl", blob
        await self._blobs.delete(owner, id)
        return None

    async def _pages(self, batch: Batch) -> AsyncIterator[Line]:
        after = 0
        while page := await self._store.lines(batch.id, after=after):
            for line in page:
                yield line
            after = page[-1].number


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


def _wait(error: ApiError | None, tries: int) -> float | None:
    """Returns the seconds until a line is retried, or None if its answer is final."""
    if error is None or (error.code not in _BUSY and (error.code not in _DOWN or tries + 1 >= TRIES)):
        return None
    asked = float(error.headers.get("Retry-After", "1"))
    return min(asked if error.code in _BUSY else 2.0**tries, WAIT_S)
