"""Answers background responses, as jobs that any gateway may run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from serving.api.resumable.buffer import Buffers, Stream
from serving.api.resumable.ids import StreamIds
from serving.api.resumable.peers import Peers
from serving.core.principal import Principal
from serving.inference.detached_exchange import DetachedExchange
from serving.inference.pipeline import Pipeline
from serving.inference.responses.object import QueuedResponse
from serving.protocol.errors import ApiError
from serving.protocol.responses import ResponseRequest
from serving.security.absent_callers import AbsentCallers, NotAllowedAnyMore
from serving.store.background.responses import RESPOND, BackgroundResponses
from serving.store.errors import LeaseLost
from serving.store.jobs.counted import counted
from serving.store.jobs.job import Json
from serving.store.jobs.worker import Handler, JobContext, PermanentError, Postponed

EVENTS = 1_000_000
"""Number of event numbers reserved for each attempt: a client that continues after an event of a failed attempt gets
all events of the next one, whose text may differ.
"""

WATCH_S = 0.5
"""Interval of checks whether an answer is still wanted."""

PATIENCE_S = 3600.0
"""Seconds for which a response waits for a minute's quota or a busy model."""

_BUSY = ("overloaded", "rate_limit_exceeded")


class ResponseRunner:
    """The job that answers a response. Its stream is buffered like resumable ones, for the same caller."""

    def __init__(
        self,
        store: BackgroundResponses,
        callers: AbsentCallers,
        pipeline: Pipeline,
        buffers: Buffers,
        peers: Peers,
        stream_ids: StreamIds,
    ) -> None:
        self._store = store
        self._callers = callers
        self._pipeline = pipeline
        self._buffers = buffers
        self._peers = peers
        self._stream_ids = stream_ids
        self.handlers: dict[str, Handler] = {RESPOND: counted(self._respond)}

    async def _respond(self, context: JobContext) -> Json | None:
        job = context.job
        caller = await self._caller(context)
        stored = await self._store.start(caller, job.payload["response_id"])
        if stored is None:  # it was deleted or cancelled, or another gateway stored the answer
            return None
        body = ResponseRequest.model_validate(job.payload["request"]).model_copy(update={"stream": True})
        queued = QueuedResponse(stored.id, stored.body["created_at"], job.done)
        async with self._stream(context, caller) as stream:
            x = DetachedExchange(job.payload["request_id"], caller, stream.add)
            x.paid = True
            try:
                await self._run(x, body, queued, stream)
            except ApiError as e:
                x.fail(e)
        if x.error is not None:
            raise _ended(context, x.error)
        return None

    async def _caller(self, context: JobContext) -> Principal:
        job = context.job
        try:
            caller = await self._callers.again(job.tenant, job.user, job.payload["caller"])
        except NotAllowedAnyMore:
            caller = None
        if caller is None or "inference" not in caller.scopes:
            raise PermanentError("insufficient_scope", "The response's creator no longer has access.")
        return caller

    @contextlib.asynccontextmanager
    async def _stream(self, context: JobContext, caller: Principal) -> AsyncIterator[Stream]:
        """Buffers the events of this attempt, and records their location in the job."""
        stream = self._buffers.begin(self._stream_ids.new(self._peers.address, caller))
        try:
            await context.progress(context.job.done + EVENTS, 0, stream.id)
            yield stream
        finally:
            self._buffers.end(stream)

    async def _run(self, x: DetachedExchange, body: ResponseRequest, queued: QueuedResponse, stream: Stream) -> None:
        """Runs the pipeline until it has answered, or the answer is no longer wanted; then raises `LeaseLost`."""
        running = asyncio.create_task(self._pipeline.response(x, body, queued))
        watching = asyncio.create_task(self._unwanted(x.caller, queued.id, stream))
        try:
            await asyncio.wait([running, watching], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            else:
                x.disconnected = True
                raise LeaseLost(queued.id)
        finally:
            watching.cancel()
            running.cancel()
            await asyncio.gather(running, watching, return_exceptions=True)

    async def _unwanted(self, caller: Principal, id: str, stream: Stream) -> None:
        """Returns once a response is cancelled or deleted; stopping its stream cancels it."""
        while await self._store.is_pending(caller, id):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.stop.wait(), WATCH_S)
                await self._store.cancel(caller, id)


def _ended(context: JobContext, error: ApiError) -> Exception:
    """Converts the error of a request to one that ends the job or has it retried."""
    job = context.job
    if error.code in _BUSY and (job.started_at or 0) + PATIENCE_S > (job.lease_until or 0):
        return Postponed(float(error.headers.get("Retry-After", "1")))
    if error.code == "unavailable" and job.attempts < job.max_attempts:
        return error
    return PermanentError(error.code, error.message)
