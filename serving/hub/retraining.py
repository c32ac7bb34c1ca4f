"""Trains again what an erasure ended: from a new data set of the same request, without the person's rows.

Only the newest version of a name is trained again. Whoever wants a release of the new one evaluates it first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.principal import worker
from serving.hub.datasets import Datasets
from serving.hub.jobs.freezing import begin
from serving.hub.jobs.tuning import ATTEMPTS, TUNE
from serving.protocol.tuning import USED, DatasetRequest, JobRequest
from serving.store.jobs.queue import Jobs, Json
from serving.store.relational.tables import UNFINISHED, hub_datasets, hub_parents, hub_versions, jobs

NAME = "retraining"
"""The user who creates the jobs: the stack itself."""


class Retraining:
    """Queues the jobs that make again what an erasure ended."""

    def __init__(self, jobs: Jobs, datasets: Datasets) -> None:
        self._jobs = jobs
        self._datasets = datasets

    async def queue(
        self, connection: AsyncConnection, tenant: str, versions: Collection[str], datasets: Collection[str]
    ) -> None:
        """Queues a job for each name, within the transaction that ended these versions, which were ready, and data
        sets. What needs a version or a retained data set that ended too is left out, and so are uploaded rows.
        """
        lost = [*await self._interrupted(connection, tenant, datasets), *await self._ended(connection, versions)]
        rows = await self._rows(connection, [request.dataset for request in lost])
        done: set[str] = set()
        for request in lost:
            gone = request.version in versions or request.retain in datasets
            gone |= request.without_rater is not None  # the hash of a rater is that of one data set
            if not gone and request.dataset in rows and request.name not in done:
                done.add(request.name)
                await self._begin(tenant, request, rows[request.dataset])

    async def _begin(self, tenant: str, request: JobRequest, rows: DatasetRequest) -> None:
        principal = worker(tenant, NAME)
        dataset = await begin(self._datasets, self._jobs, principal, rows)
        again = request.model_copy(update={"dataset": dataset.id})
        payload: Json = {"request": again.model_dump(mode="json", exclude_unset=True)}
        await self._jobs.enqueue(principal, TUNE, payload, max_attempts=ATTEMPTS)

    async def _interrupted(
        self, connection: AsyncConnection, tenant: str, datasets: Collection[str]
    ) -> Sequence[JobRequest]:
        """Returns the jobs of these data sets that have not ended yet: they will, since their data set has."""
        query = select(jobs.c.payload).where(jobs.c.tenant == tenant, jobs.c.kind == TUNE, UNFINISHED)
        found = [
            JobRequest.model_validate(payload["request"])
            for payload in (await connection.execute(query.order_by(jobs.c.created_at.desc()))).scalars()
        ]
        return [request for request in found if request.dataset in datasets]

    async def _ended(self, connection: AsyncConnection, versions: Collection[str]) -> Sequence[JobRequest]:
        """Returns those of these versions that were the newest of their names, and that a job has tuned."""
        of = hub_versions.c
        query = select(hub_versions).where(of.id.in_(versions), of.dataset.is_not(None)).order_by(of.number.desc())
        newest: dict[str, RowMapping] = {}
        for row in (await connection.execute(query)).mappings():
            newest.setdefault(row["name"], row)
        found = []
        for row in newest.values():
            later = select(of.id).where(
                of.tenant == row["tenant"], of.name == row["name"], of.number > row["number"], of.status == "ready"
            )
            parents = select(hub_parents.c.parent).where(hub_parents.c.version == row["id"])
            if row["method"] in USED and (await connection.execute(later)).first() is None:
                found.append(_request(row, (await connection.execute(parents)).scalar()))
        return found

    async def _rows(self, connection: AsyncConnection, datasets: Collection[str | None]) -> dict[str, DatasetRequest]:
        """Returns the requests of data sets of rated answers."""
        query = select(hub_datasets.c.id, hub_datasets.c.manifest).where(hub_datasets.c.id.in_(list(datasets)))
        found: dict[str, DatasetRequest] = {}
        for id, manifest in await connection.execute(query):
            if (asked := manifest.get("request")) is not None:
                request = DatasetRequest.model_validate(asked)
                if request.file is None:
                    found[id] = request
        return found


def _request(version: RowMapping, parent: str | None) -> JobRequest:
    """Returns the request of the job that made a version; `parent` is the version that it began with."""
    recipe: dict[str, Any] = dict(version["recipe"])
    more = {
        name: value for name in ("teacher", "retain", "without_rater") if (value := recipe.pop(name, None)) is not None
    }
    recipe = {name: value for name, value in recipe.items() if value is not None}
    asked = {name: version[name] for name in ("method", "name", "base", "dataset")} | {"version": parent}
    return JobRequest.model_validate(asked | more | {"recipe": recipe})
