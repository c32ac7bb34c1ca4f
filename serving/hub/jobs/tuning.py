"""Tuning jobs as callers see them: they are created, listed and cancelled in a gateway, and run elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from serving.config import Tuning
from serving.core.principal import Principal
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import MAX_PAGE, Datasets
from serving.hub.versions import Versions
from serving.protocol.tuning import USED, JobRequest
from serving.store.errors import Conflict, InvalidValue, NotFound, TooMany
from serving.store.jobs.queue import Job, Jobs
from serving.store.relational.rows import Page

TUNE: Final = "tune"
"""Job kind: payload {"request"}, a `JobRequest`, with what `create` adds; result {"version"}."""

EVENTS: Final = "events.jsonl"
"""File of a job's events, and an artefact of the version that it made."""

MODEL: Final = "model.gguf"
"""Artefact of a version that is a model of its own."""

MAX_EVENTS = 10_000
"""Maximum number of events of a job that are shown: the newest."""

MAX_UNFINISHED = 20
"""Maximum number of unfinished jobs of a tenant."""

ATTEMPTS = 25
"""Attempts of a job whose process is killed again and again."""

PAIRS = ("trl-preference", "openai-preference")
TAKES = {"dpo": PAIRS, "reward": PAIRS, "kto": ("trl-unpaired-preference",)}
"""The formats of rows that a method takes; the other methods take the good answers of all formats."""


class TuningDisabled(Conflict):
    """This stack runs no jobs."""


class TuningJobs:
    """The tuning jobs of all tenants."""

    def __init__(
        self, settings: Tuning, jobs: Jobs, datasets: Datasets, versions: Versions, artefacts: Artefacts
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._datasets = datasets
        self._versions = versions
        self._artefacts = artefacts

    def require_enabled(self) -> None:
        """Raises `TuningDisabled` unless jobs run in this stack."""
        if not self._settings.enabled:
            raise TuningDisabled(
                "tuning is not enabled in this stack: run `make tuning`, set headrace:tuning.enabled to true, and run "
                "`make up`"
            )

    async def create(self, principal: Principal, request: JobRequest, **more: Any) -> Job:
        """Enqueues a job; `more` is kept in its payload. The caller has checked that the principal may use the models.

        Raises `TuningDisabled`, `TooMany`, `NotFound` for data sets and versions, `InvalidValue` for those that do not
        fit, and `Conflict` for those that are not ready.
        """
        self.require_enabled()
        for id in (request.dataset, request.retain):
            if id is not None:
                dataset = await self._datasets.get(principal, id)
                if dataset.status == "retired":
                    raise Conflict(f"the data set is retired: {dataset.reason}")
                takes = TAKES.get(request.method)
                if id == request.dataset and takes is not None and dataset.format not in takes:
                    raise InvalidValue("dataset", f"must have rows of the format {' or '.join(takes)}")
        if request.version is not None:
            version = await self._versions.get(principal, request.version)
            if version.status != "ready":
                raise Conflict(f"the version is {version.status}, not ready")
            if version.base != request.base or all(artefact.name != MODEL for artefact in version.artefacts):
                raise InvalidValue("version", "must be a version of the base that has a model of its own")
        newest = await self._jobs.list(principal, kind=TUNE, after=None, limit=MAX_PAGE)
        if sum(job.finished_at is None for job in newest.items) >= MAX_UNFINISHED:
            raise TooMany(f"{MAX_UNFINISHED} tuning jobs of the tenant are unfinished: wait until some are done")
        payload = {"request": request.model_dump(mode="json", exclude_unset=True), **more}
        return await self._jobs.enqueue(principal, TUNE, payload, max_attempts=ATTEMPTS)

    async def get(self, principal: Principal, id: str) -> Job:
        """Returns a tuning job of the tenant or raises `NotFound`."""
        job = await self._jobs.get(principal, id)
        if job.kind != TUNE:
            raise NotFound("job", id)
        return job

    async def list(self, principal: Principal, *, after: str | None, limit: int) -> Page[Job]:
        """Returns the tenant's tuning jobs, newest first."""
        return await self._jobs.list(principal, kind=TUNE, after=after, limit=limit)

    async def cancel(self, principal: Principal, id: str) -> Job:
        """Cancels a job; a running one ends within seconds. No effect on an ended one. Raises `NotFound`."""
        await self.get(principal, id)
        return await self._jobs.cancel(principal, id)

    async def events(self, principal: Principal, id: str) -> Sequence[tuple[int, dict[str, Any]]]:
        """Returns the newest events of a job with their numbers, the oldest first; none before its first step.

        Raises `NotFound`.
        """
        job = await self.get(principal, id)
        try:
            content = await self._artefacts.open(job.id, EVENTS)
        except NotFound:
            version = (job.result or {}).get("version")
            if version is None:
                return []
            try:
                _, content = await self._versions.artefact(principal, version, EVENTS)
            except NotFound:
                return []
        return await newest_events(content)


async def newest_events(content: AsyncIterator[bytes]) -> list[tuple[int, dict[str, Any]]]:
    """Returns the newest events in a log, with their numbers."""
    kept: deque[tuple[int, bytes]] = deque(maxlen=MAX_EVENTS)
    number, begun = 0, b""
    async for chunk in content:
        *lines, begun = (begun + chunk).split(b"\n")
        kept.extend(enumerate(lines, number))
        number += len(lines)
    found = []
    for at, line in kept:
        with suppress(orjson.JSONDecodeError):  # its process was killed while it wrote the line
            found.append((at, orjson.loads(line)))
    return found


def document(job: Job) -> dict[str, Any]:
    """Returns a job as the API shows it."""
    request = JobRequest.model_validate(job.payload["request"])
    error = {"code": job.error_code, "message": job.error_message} if job.status == "failed" else None
    return {
        "id": job.id,
        "object": "hub.job",
        "method": request.method,
        "name": request.name,
        "base": request.base,
        "base_version": request.version,
        "dataset": request.dataset,
        "retain": request.retain,
        "teacher": request.teacher,
        "without_rater": request.without_rater,
        "recipe": recipe(request),
        "status": job.status,
        "stage": job.message,
        "step": job.done,
        "steps": job.total,
        "version": (job.result or {}).get("version"),
        "error": error,
        "created_at": int(job.created_at),
        "created_by": job.user,
        "started_at": int(job.started_at) if job.started_at is not None else None,
        "finished_at": int(job.finished_at) if job.finished_at is not None else None,
    }


def recipe(request: JobRequest) -> dict[str, Any]:
    """Returns the whole recipe of a job, with the defaults of the fields that its method uses."""
    return request.recipe.model_dump(include=set(USED[request.method]))
