"""Background responses: each is a row without an answer, and a job that produces it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.config import Limits
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.background.webhooks import announce
from serving.store.conversations import Then
from serving.store.errors import NotFound, TooMany
from serving.store.jobs.job import SERVER_ERROR, Job, Json
from serving.store.jobs.queue import Jobs, add_job, size_of
from serving.store.quotas import Meter
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.postgres import lock_out
from serving.store.relational.rows import build
from serving.store.relational.tables import UNFINISHED, jobs, responses
from serving.store.responses import NewResponse, StoredResponse, queue_response, waited_for

RESPOND = "respond"
"""Job kind: payload {"response_id", "request", "caller", "request_id"}, of which the first is kept at its end.

`message` is the id of the stream of its events, `done` the number of reserved event numbers.
"""

ATTEMPTS = 5

_CODES = {
    **dict.fromkeys(("engine_error", "engine_timeout", "unavailable"), SERVER_ERROR),
    **dict.fromkeys(("insufficient_quota", "overloaded", "rate_limit_exceeded"), "rate_limit_exceeded"),
}


class BackgroundResponses:
    """The background responses of all tenants; `limits` say how much of a tenant may be unfinished."""

    def __init__(self, database: Database, jobs: Jobs, limits: Limits | None = None) -> None:
        self._database = database
        self._jobs = jobs
        self._limits = limits or Limits()
        jobs.on_end(RESPOND, _end)

    @uninterrupted
    async def begin(
        self,
        principal: Principal,
        new: NewResponse,
        payload: Json,
        then: Then | None = None,
        *,
        tokens: int = 0,
        meters: Sequence[Meter] = (),
    ) -> None:
        """Stores a response with the job that answers it, which may use so many `tokens`, and runs `then` in the same
        transaction.

        Raises `TooMany` if too much of the tenant is unfinished, and `QuotaExceeded` if one of `meters` does.
        """
        id = new.body["id"]
        about, size = payload | {"response_id": id}, size_of(payload)

        def work(connection: Connection) -> None:
            self._require_room(connection, principal.tenant, size)
            for meter in meters:
                meter(connection)
            queue_response(connection, principal, new)
            add_job(
                connection,
                principal,
                RESPOND,
                about,
                max_attempts=ATTEMPTS,
                id=job_of(id),
                size=size,
                tokens=tokens,
            )
            if then is not None:
                then(connection, [])

        await self._database.group_commit(work)

    def _require_room(self, connection: Connection, tenant: str, size: int) -> None:
        lock_out(connection, "background", tenant)
        mine = jobs.c.tenant == tenant, jobs.c.kind == RESPOND, UNFINISHED
        query = select(func.count(), func.coalesce(func.sum(jobs.c.bytes), 0)).where(*mine)
        number, before = connection.execute(query).one()
        most, most_bytes = self._limits.background_responses, self._limits.background_bytes
        if number >= most:
            raise TooMany(f"{most} background responses of the tenant are unfinished: wait until some are done")
        if before + size > most_bytes:
            what = f"unfinished background responses of the tenant have at most {most_bytes} bytes of requests"
            raise TooMany(f"{what}, and {before} are there: wait until some are done")

    @uninterrupted
    async def start(self, principal: Principal, id: str) -> StoredResponse | None:
        """Marks a response as in progress, and returns it; None if its answer is no longer wanted."""
        async with self._database.write() as connection:
            return await _change(connection, principal.tenant, id, {"status": "in_progress"})

    @uninterrupted
    async def is_pending(self, principal: Principal, id: str) -> bool:
        """Returns whether a response exists, with a job that has not ended and nobody has cancelled.

        The job that answers it asks twice a second, so this reads no body, which can have megabytes.
        """
        its_job = and_(jobs.c.id == job_of(id), UNFINISHED, jobs.c.cancel_requested.is_(False))
        mine = and_(responses.c.id == id, responses.c.tenant == principal.tenant)
        query = select(responses.c.id).join_from(responses, jobs, its_job).where(mine)
        async with self._database.read() as connection:
            return (await connection.execute(query)).first() is not None

    @uninterrupted
    async def job(self, principal: Principal, id: str) -> Job | None:
        """Returns the current or recent job of a response."""
        try:
            return await self._jobs.get(principal, job_of(id))
        except NotFound:
            return None

    @uninterrupted
    async def cancel(self, principal: Principal, id: str) -> StoredResponse:
        """Ends a response without an answer, and returns it; one that has ended stays unchanged. Raises `NotFound`."""
        mine = select(responses).where(responses.c.id == id, own(responses, principal))
        async with self._database.write() as connection:
            row = (await connection.execute(mine.with_for_update())).mappings().first()
            if row is None:
                raise NotFound("response", id)
            cancelled = await _change(connection, principal.tenant, id, {"status": "cancelled"})
            if cancelled is None:
                return build(StoredResponse, row)
            with suppress(NotFound):  # a response that no job processes ends immediately
                await self._jobs.cancel(principal, job_of(id), connection=connection)
            return cancelled


def job_of(id: str) -> str:
    """Returns the id of a response's job."""
    return f"job_{id.removeprefix('resp_')}"


async def _change(connection: AsyncConnection, tenant: str, id: str, changes: dict[str, Any]) -> StoredResponse | None:
    """Changes fields of an unanswered response; returns None if there is none."""
    found = select(responses).where(responses.c.id == id, responses.c.tenant == tenant).with_for_update()
    row = (await connection.execute(found)).mappings().first()
    if row is None or not waited_for(row["body"]):
        return None
    body = row["body"] | changes
    if body["status"] in ("failed", "cancelled"):
        await connection.run_sync(announce, tenant, row["user"], f"response.{body['status']}", id)
    await connection.execute(responses.update().where(responses.c.id == id).values(body=body))
    return replace(build(StoredResponse, row), body=body)


async def _end(connection: AsyncConnection, job: Job) -> None:
    """Ends the response of a failed job, and deletes the request."""
    id = job.payload["response_id"]
    await connection.execute(jobs.update().where(jobs.c.id == job.id).values(payload={"response_id": id}))
    if job.status == "cancelled":
        await _change(connection, job.tenant, id, {"status": "cancelled"})
    elif job.status == "failed":
        await _change(connection, job.tenant, id, {"status": "failed", "error": _error(job)})


def _error(job: Job) -> dict[str, str]:
    """Returns the error of a response, with OpenAI's codes."""
    if job.error_code == SERVER_ERROR:  # the exception's text is for the operator only
        return {"code": SERVER_ERROR, "message": "The response failed."}
    return {"code": _CODES.get(job.error_code or "", "invalid_prompt"), "message": job.error_message or ""}
