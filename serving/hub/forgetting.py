"""Removes a person from the hub: the data sets with the person's data, and every version that was made from them.

What a model has learnt cannot be taken out of its weights, so that its versions end, with all versions made from them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, and_, case, or_, select, update

from serving.core.ids import now
from serving.core.uninterrupted import uninterrupted
from serving.hub.artefacts import Artefacts
from serving.hub.evaluations import UNFINISHED
from serving.hub.jobs.tuning import TUNE
from serving.hub.lineage import descendants
from serving.hub.live import Live
from serving.hub.retraining import Retraining
from serving.hub.versions import RETAIN
from serving.store.jobs.queue import Job
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.tables import (
    hub_consents,
    hub_dataset_people,
    hub_datasets,
    hub_evaluations,
    hub_releases,
    hub_scores,
    hub_suites,
    hub_versions,
    jobs,
)

REASON = "it was made from the data of a person who was forgotten since: make a new data set, and train again"

CREATOR_FORGOTTEN = "The evaluation's creator was forgotten."

INTERRUPTED = "a person was forgotten while it was being made: start again"

LOOK_S = 1.0
"""Interval in seconds of looks at jobs that train on what ended."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """The ids of what ended, whose files must be deleted."""

    datasets: list[str]
    versions: list[str]


class Forgetting:
    """The hub's part of an erasure."""

    def __init__(
        self, database: Database, artefacts: Artefacts, live: Live, retraining: Retraining | None = None
    ) -> None:
        """Without `retraining`, what ends is not trained again."""
        self._database = database
        self._artefacts = artefacts
        self._live = live
        self._retraining = retraining

    async def forget(self, job: Job, user: str) -> None:
        """Retires data sets and versions with a user's data, unloads the versions everywhere, and deletes their files.

        The user's rows are removed last: after a crash it finds the same data sets and versions again.
        """
        # One transaction: what ends is queued to be trained again, once.
        ended = await self._database.atomically(partial(self._end, job, user))
        await self._live.unload(ended.versions)
        while True:
            if not await self._in_training(ended):
                break
            await asyncio.sleep(LOOK_S)
        for id in (*ended.datasets, *ended.versions):
            await self._artefacts.delete(id)
        await self._remove(job.tenant, user)

    @uninterrupted
    async def _end(self, job: Job, user: str) -> _Ended:
        of = hub_dataset_people.c
        theirs = select(of.dataset).where(of.tenant == job.tenant, of.user == user)
        mine = hub_datasets.c.tenant == job.tenant
        # One that is building may have read the person's rows before they were removed.
        building = and_(mine, hub_datasets.c.status == "building")
        async with self._database.write() as connection:
            await lock(connection, "hub", job.tenant)
            query = select(hub_datasets.c.id).where(or_(building, and_(mine, hub_datasets.c.id.in_(theirs))))
            datasets = list((await connection.execute(query.with_for_update())).scalars())
            version = hub_versions.c
            used = or_(version.dataset.in_(datasets), version.recipe[RETAIN].as_string().in_(datasets))
            trained = select(version.id).where(version.tenant == job.tenant, used).order_by(version.id)
            versions = await descendants(connection, (await connection.execute(trained)).scalars().all())
            at = now()
            measured = hub_evaluations.c.version.in_(versions)
            answers = select(hub_evaluations.c.id).where(measured)
            await connection.execute(hub_scores.delete().where(hub_scores.c.evaluation.in_(answers)))
            await connection.execute(update(hub_evaluations).where(measured).values(card=None))
            for table, ids in ((hub_datasets, datasets), (hub_versions, versions)):
                deleted = {"bytes": 0, "deleted_at": at}
                this = table.c.id.in_(ids)
                await connection.execute(update(table).where(this, table.c.deleted_at.is_(None)).values(deleted))
                changes = {
                    "reason": case((table.c.status == "building", INTERRUPTED), else_=REASON),
                    "retired_at": at,
                    "status": "retired",
                }
                if table is hub_versions:
                    changes["card"] = None  # it may quote the data
                    changes["status"] = case((table.c.status == "building", "rejected"), else_="retired")
                open_ = table.c.status.in_(("building", "ready"))
                if table is hub_versions:
                    ready = select(table.c.id).where(this, table.c.status == "ready")
                    lost = (await connection.execute(ready)).scalars().all()
                await connection.execute(update(table).where(this, open_).values(changes))
            if self._retraining is not None:
                await self._retraining.queue(connection, job.tenant, lost, datasets)
        return _Ended(datasets, versions)

    @uninterrupted
    async def _in_training(self, ended: _Ended) -> bool:
        """Returns whether a job has rows or weights of what ended in its folder: it notices within seconds, and then
        removes them.
        """
        asked = jobs.c.payload["request"]
        used = or_(
            *(asked[name].as_string().in_(ended.datasets) for name in ("dataset", "retain")),
            asked["version"].as_string().in_(ended.versions),
        )
        running = and_(jobs.c.kind == TUNE, jobs.c.status == "running", jobs.c.lease_until > now())
        async with self._database.read() as connection:
            return (await connection.execute(select(jobs.c.id).where(running, used))).first() is not None

    @uninterrupted
    async def _remove(self, tenant: str, user: str) -> None:
        """Removes the user's name, and what models answered on the user's behalf."""
        people = hub_dataset_people
        async with self._database.write() as connection:
            await connection.execute(people.delete().where(people.c.tenant == tenant, people.c.user == user))
            theirs = select(hub_evaluations.c.id).where(
                hub_evaluations.c.tenant == tenant, hub_evaluations.c.created_by == user
            )
            # Ended first: one that is running would store more answers.
            running = and_(hub_evaluations.c.id.in_(theirs), hub_evaluations.c.status.in_(UNFINISHED))
            ended = {"status": "failed", "error": CREATOR_FORGOTTEN, "ended_at": now()}
            await connection.execute(update(hub_evaluations).where(running).values(ended))
            await connection.execute(hub_scores.delete().where(hub_scores.c.evaluation.in_(theirs)))
            for table in (hub_versions, hub_datasets, hub_suites, hub_evaluations, hub_releases, hub_consents):
                made: ColumnElement[bool] = and_(table.c.tenant == tenant, table.c.created_by == user)
                changes: dict[str, object] = {"created_by": None}
                if table is hub_evaluations:
                    changes["caller"] = {}  # it has the user's groups
                await connection.execute(update(table).where(made).values(changes))
