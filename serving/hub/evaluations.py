"""Evaluations: jobs that score a model on a suite, prompt by prompt, and write its card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.evaluation.scoring import Score, score_of
from serving.hub.suites import get_suite
from serving.hub.versions import Versions
from serving.store.errors import Conflict, LeaseLost, NotFound, TooMany
from serving.store.jobs.job import SERVER_ERROR, Job, Json
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.rows import Order, Page, build, page, require_room
from serving.store.relational.tables import hub_evaluations, hub_scores

EVALUATE = "evaluate"
"""Job kind: payload {"evaluation_id"}."""

ATTEMPTS = 20
"""Number of gateways that may die during one evaluation."""

MAX_PAGE = 100

MAX_EVALUATIONS = 10_000
"""Maximum number of evaluations of a tenant, with those that ended."""

MAX_UNFINISHED = 20
"""Maximum number of unfinished evaluations of a tenant."""

EvaluationStatus = Literal["queued", "running", "completed", "failed", "cancelled"]

UNFINISHED: tuple[EvaluationStatus, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation of `model`, and of the `version` of the hub behind it, whose card it writes.

    `caller` identifies on whose behalf models are asked, and `done` counts scored prompts. `weights` identifies what
    answered for "model" and for "against" when it began; None unless the model is a live version.
    """

    id: str
    tenant: str
    suite: str
    model: str
    against: str | None
    version: str | None
    caller: Json
    status: EvaluationStatus
    error: str | None
    card: Json | None
    weights: Json | None
    job: str
    created_at: float
    created_by: str | None
    ended_at: float | None
    done: int = 0


class Evaluations:
    """The evaluations of all tenants. Those of a tenant run one after the other."""

    def __init__(self, database: Database, jobs: Jobs, versions: Versions) -> None:
        self._database = database
        self._jobs = jobs
        self._versions = versions
        jobs.on_end(EVALUATE, self._end)

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        suite: str,
        model: str,
        *,
        against: str | None,
        version: str | None,
        caller: Json,
        weights: Json | None = None,
    ) -> Evaluation:
        """Adds an evaluation and its job. Raises `NotFound` for the suite, and `TooMany`."""
        row: dict[str, Any] = {
            "id": new_id("eval"),
            "tenant": principal.tenant,
            "suite": suite,
            "model": model,
            "against": against,
            "version": version,
            "caller": caller,
            "status": "queued",
            "error": None,
            "card": None,
            "weights": weights,
            "created_at": now(),
            "created_by": principal.user,
            "ended_at": None,
        }
        of = hub_evaluations.c
        queue = f"evaluations-{hashlib.sha256(principal.tenant.encode()).hexdigest()[:32]}"
        waiting = select(func.count()).where(of.tenant == principal.tenant, of.status.in_(UNFINISHED))
        async with self._database.write() as connection:
            await get_suite(connection, principal, suite)
            if (await connection.execute(waiting)).scalar_one() >= MAX_UNFINISHED:
                raise TooMany(f"{MAX_UNFINISHED} evaluations of the tenant are unfinished: wait until some are done")
            job = await self._jobs.enqueue(
                principal,
                EVALUATE,
                {"evaluation_id": row["id"]},
                connection=connection,
                group=(queue, None),
                max_attempts=ATTEMPTS,
            )
            row["job"] = job.id
            await require_room(connection, hub_evaluations, principal.tenant, MAX_EVALUATIONS, "evaluations")
            await connection.execute(hub_evaluations.insert().values(row))
        return Evaluation(**row)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Evaluation:
        """Returns the tenant's evaluation; raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, principal, id)

    @uninterrupted
    async def list(
        self, principal: Principal, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Evaluation]:
        """Returns the tenant's evaluations."""
        async with self._database.read() as connection:
            found = await page(
                connection,
                select(hub_evaluations),
                hub_evaluations,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
            )
            done = await _done(connection, [row["id"] for row in found.items])
        return Page([build(Evaluation, row, done=done.get(row["id"], 0)) for row in found.items], found.has_more)

    @uninterrupted
    async def cancel(self, principal: Principal, id: str) -> Evaluation:
        """Cancels an evaluation; raises `NotFound`, and `Conflict` for one that has ended otherwise."""
        async with self._database.write() as connection:
            evaluation = await _get(connection, principal, id)
            if evaluation.status == "cancelled":
                return evaluation
            if evaluation.status not in UNFINISHED:
                raise Conflict(f"the evaluation is {evaluation.status}")
            await self._jobs.cancel(principal, evaluation.job, connection=connection)
            await _finish(connection, id, "cancelled")
            return await _get(connection, principal, id)

    @uninterrupted
    async def begin(self, evaluation: Evaluation) -> None:
        """Records that it runs."""
        of = hub_evaluations.c
        queued = hub_evaluations.update().where(of.id == evaluation.id, of.status == "queued")
        async with self._database.write() as connection:
            await connection.execute(queued.values(status="running"))

    @uninterrupted
    async def scores(self, id: str) -> Sequence[Score]:
        """Returns the scores of the prompts so far, in their order."""
        of = hub_scores.c
        async with self._database.read() as connection:
            query = select(of.score).where(of.evaluation == id).order_by(of.number)
            return [score_of(each) for each in (await connection.execute(query)).scalars()]

    @uninterrupted
    async def keep(self, evaluation: Evaluation, score: Score) -> None:
        """Stores the score of a prompt; raises `LeaseLost` if it is no longer wanted, or another gateway stored it."""
        of = hub_evaluations.c
        open_ = select(of.id).where(of.id == evaluation.id, of.status.in_(UNFINISHED)).with_for_update(read=True)
        row = {
            "evaluation": evaluation.id,
            "number": score.number,
            "tenant": evaluation.tenant,
            "score": score.document,
        }
        try:
            async with self._database.write() as connection:
                if (await connection.execute(open_)).first() is None:
                    raise LeaseLost(evaluation.id)
                await connection.execute(hub_scores.insert().values(row))
        except IntegrityError:
            raise LeaseLost(evaluation.id) from None

    @uninterrupted
    async def complete(self, evaluation: Evaluation, card: Mapping[str, Any]) -> None:
        """Stores the card, also as that of the version if it is still ready; no effect on what has ended."""
        owner = Principal(evaluation.tenant, evaluation.created_by or "", evaluation.id)
        async with self._database.write() as connection:
            ended = await _finish(connection, evaluation.id, "completed", card=dict(card))
            if ended and evaluation.version is not None:
                with suppress(NotFound, Conflict):  # it was retired meanwhile
                    await self._versions.put_card(owner, evaluation.version, card, connection=connection)

    async def _end(self, connection: AsyncConnection, job: Job) -> None:
        """Ends an evaluation whose job failed or was cancelled."""
        if job.status in ("failed", "cancelled"):
            error = None
            if job.status == "failed":
                error = job.error_message if job.error_code != SERVER_ERROR else "The evaluation failed."
            await _finish(connection, job.payload["evaluation_id"], job.status, error=error)


async def _finish(connection: AsyncConnection, id: str, status: str, **changes: Any) -> bool:
    """Ends an evaluation; returns False if it has ended before."""
    of = hub_evaluations.c
    open_ = hub_evaluations.update().where(of.id == id, of.status.in_(UNFINISHED))
    return (await connection.execute(open_.values(status=status, ended_at=now(), **changes))).rowcount == 1


async def _get(connection: AsyncConnection, principal: Principal, id: str) -> Evaluation:
    of = hub_evaluations.c
    query = select(hub_evaluations).where(of.id == id, of.tenant == principal.tenant)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise NotFound("evaluation", id)
    return build(Evaluation, row, done=(await _done(connection, [id])).get(id, 0))


async def _done(connection: AsyncConnection, ids: list[str]) -> dict[str, int]:
    """Returns the numbers of scored prompts, by evaluation."""
    of = hub_scores.c
    query = select(of.evaluation, func.count()).where(of.evaluation.in_(ids)).group_by(of.evaluation)
    return {str(row[0]): int(row[1]) for row in await connection.execute(query)}
