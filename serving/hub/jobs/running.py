"""Runs tuning jobs: from a job to a version in the registry."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.config import TRAINING, LlamaCppModel, Tuning
from serving.core.principal import Principal
from serving.engines.source import resolve
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import Datasets
from serving.hub.jobs import child
from serving.hub.jobs.child import Event, JobFolder, JobLimits
from serving.hub.jobs.leaving_out import leave_out
from serving.hub.jobs.results import register
from serving.hub.jobs.tuning import EVENTS, MODEL, TUNE
from serving.hub.versions import Version, Versions
from serving.protocol.tuning import JobRequest
from serving.store.errors import Conflict, NotFound, StoreUnavailable
from serving.store.jobs.queue import Json
from serving.store.jobs.worker import Handler, JobContext, PermanentError, Postponed
from serving.tuning.plan import Base, Plan

REPORT_S = 1.0
"""Minimum time between two reports of progress."""

PUBLISH_S = 5.0
"""Minimum time between two copies of the events for the API, and between two looks at the data set."""


class Tuner:
    """Runs jobs, one at a time in each folder. `work` is a folder on this host."""

    def __init__(
        self, settings: Tuning, work: Path, datasets: Datasets, versions: Versions, artefacts: Artefacts
    ) -> None:
        self._settings = settings
        self._folders = work / "jobs"
        self._bases = work / "bases"
        self._datasets = datasets
        self._versions = versions
        self._artefacts = artefacts
        self._models: Mapping[str, LlamaCppModel] = {}
        self._digests: dict[tuple[str, int, int], str] = {}

    def configure(self, models: Mapping[str, LlamaCppModel]) -> None:
        """Takes the models that jobs may begin with."""
        self._models = models

    @property
    def handlers(self) -> dict[str, Handler]:
        return {TUNE: self._tune}

    @property
    def folders(self) -> Path:
        """The folder of the jobs' folders, which have their ids."""
        return self._folders

    async def _tune(self, context: JobContext) -> Json:
        request = JobRequest.model_validate(context.job.payload["request"])
        folder = JobFolder(self._folders / context.job.id)
        try:
            result = await self._attempt(context, request, folder)
        except PermanentError:
            await self.publish(context, folder)
            await asyncio.to_thread(folder.remove)
            raise
        await asyncio.to_thread(folder.remove)
        return result

    async def _attempt(self, context: JobContext, request: JobRequest, folder: JobFolder) -> Json:
        # Its process may have been killed after it had made the version, and before it could say so.
        version = await self._versions.of_job(context.principal, context.job.id)
        version = version or await self._make_version(context, request, folder)
        return {"version": version.id, "name": version.name, "number": version.number}

    async def _make_version(self, context: JobContext, request: JobRequest, folder: JobFolder) -> Version:
        try:
            await self.require_data(context.principal, request)
            if not folder.plan.exists():
                await self._prepare(context, request, folder)
            plan = Plan.read(folder.plan)
            if not folder.done.exists():
                limits = JobLimits(self._settings.memory_bytes, self._settings.hours * 3600)
                python = Path(sys.executable) if plan.method == "quantise" else TRAINING / "bin" / "python"
                if not python.exists():
                    raise PermanentError("no_environment", "the training environment is missing: run `make tuning`")
                listener = _Listener(self, context, request, folder)
                await child.run(python, folder, limits, listener.hear)
                folder.done.touch()
                await listener.report("registering")
            await self.require_data(context.principal, request)
            return await register(self._versions, self._datasets, context.job, request, plan, folder)
        except (NotFound, Conflict) as e:
            raise PermanentError("gone", str(e)) from None

    async def require_data(self, principal: Principal, request: JobRequest) -> None:
        """Raises `Postponed` while a data set of the job is building, and `Conflict` when one, or the version that it
        begins with, is retired.
        """
        for id in (request.dataset, request.retain):
            if id is not None and (dataset := await self._datasets.get(principal, id)).status != "ready":
                if dataset.status == "building":
                    raise Postponed(2.0)
                raise Conflict(f"the data set was retired: {dataset.reason}")
        if request.version is not None:
            version = await self._versions.get(principal, request.version)
            if version.status != "ready":
                raise Conflict(f"the version {version.id} was {version.status}: {version.reason}")

    async def _prepare(self, context: JobContext, request: JobRequest, folder: JobFolder) -> None:
        """Writes the folder of a job; its plan last."""
        await context.progress(0, 0, "preparing")
        await asyncio.to_thread(folder.begin)
        await asyncio.to_thread(self._bases.mkdir, parents=True, exist_ok=True)
        rows = await self._rows(context.principal, request.dataset, folder.path / "rows", request.without_rater)
        retain = await self._rows(context.principal, request.retain, folder.path / "retain")
        teacher = await self._base(request.teacher) if request.teacher is not None else None
        base = await self._base(request.base)
        if request.version is not None:
            artefact, content = await self._versions.artefact(context.principal, request.version, MODEL)
            path = folder.path / MODEL
            await _save(content, path)
            base = Base(str(path), artefact.sha256)
        recipe = request.recipe
        plan = Plan(
            method=request.method,
            base=base,
            folder=str(folder.path),
            bases=str(self._bases),
            rows=tuple(rows.get("train", ())),
            held_out=tuple(rows.get("test", ()) or rows.get("validation", ())),
            retain=tuple(path for paths in retain.values() for path in paths),
            teacher=teacher,
            steps=recipe.steps_for(await asyncio.to_thread(_count, rows.get("train", ()))),
            batch=recipe.batch,
            rate=recipe.learning_rate,
            rank=recipe.rank,
            max_tokens=recipe.max_tokens,
            seed=recipe.seed,
            beta=recipe.beta,
            sft_weight=recipe.sft_weight,
            retain_weight=recipe.retain_weight if request.method in ("sft", "dpo", "kto") else 0.0,
            temperature=recipe.temperature,
            layers=recipe.layers,
            type=recipe.type,
            checkpoint_every=recipe.checkpoint_every,
            threads=self._settings.threads,
            memory_bytes=self._settings.memory_bytes,
        )
        await asyncio.to_thread(folder.write, plan)

    async def _rows(
        self, principal: Principal, id: str | None, target: Path, without: str | None = None
    ) -> dict[str, list[str]]:
        """Copies the rows of a data set, but for those of the rater `without`, and returns their files by split.

        Raises `PermanentError` if that rater has none of the rows, or all that are trained on.
        """
        found: dict[str, list[str]] = {}
        if id is None:
            return found
        await asyncio.to_thread(target.mkdir)
        files = {file.name for file in (await self._datasets.get(principal, id)).files}
        left_out = 0
        for name in sorted(name for name in files if "." not in name.removesuffix(".jsonl")):
            split, path = name.removesuffix(".jsonl"), target / name
            await _save(await self._artefacts.open(id, name), path)
            if without is not None:
                lineage = target / f"{split}.lineage.jsonl"
                if lineage.name not in files:
                    raise PermanentError("no_raters", "nobody rated the rows of this data set")
                await _save(await self._artefacts.open(id, lineage.name), lineage)
                left_out += await asyncio.to_thread(leave_out, path, lineage, without)
                await asyncio.to_thread(lineage.unlink)
            if path.stat().st_size:
                found.setdefault(split, []).append(str(path))
        if without is not None and (not left_out or "train" not in found):
            which = "none" if not left_out else "all"
            raise PermanentError("unsuitable_rater", f"{which} of the rows are of the rater that is to be left out")
        return found

    async def _base(self, name: str) -> Base:
        """Returns a configured model's weights. Raises `PermanentError` for one that cannot be tuned here."""
        model = self._models.get(name)
        if model is None:
            raise PermanentError("unsupported_base", f"{name} is not a model that llama.cpp serves here")
        try:
            path = await asyncio.to_thread(resolve, model.source, model.sha256)
        except (OSError, ValueError) as e:
            raise PermanentError("unsupported_base", f"the weights of {name} cannot be read: {e}") from None
        return Base(str(path), await asyncio.to_thread(self._digest, path))

    def _digest(self, path: Path) -> str:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in self._digests:
            with path.open("rb") as file:
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[key]

    async def publish(self, context: JobContext, folder: JobFolder) -> None:
        """Copies the events of a job to where gateways read them."""
        with suppress(StoreUnavailable, FileNotFoundError):
            await self._artefacts.write(context.job.id, EVENTS, folder.log)


class _Listener:
    """Reports a child's events: the step to the job's row, all of them to the API, at most so often."""

    def __init__(self, tuner: Tuner, context: JobContext, request: JobRequest, folder: JobFolder) -> None:
        self._tuner = tuner
        self._context = context
        self._request = request
        self._folder = folder
        self._stage = ""
        self._step, self._steps = 0, 0
        self._reported = self._published = 0.0

    async def hear(self, event: Event) -> None:
        """Takes one event. Raises `LeaseLost` when the job was cancelled, and `Conflict` when its data set ended."""
        kind = event.get("event")
        self._stage = str(event.get("stage", self._stage))
        if kind == "step":
            self._step, self._steps = int(event["step"]), int(event["of"])
        now = time.monotonic()
        if kind != "step" or now > self._reported + REPORT_S:
            self._reported = now
            await self.report(self._stage)
        if kind != "step" or now > self._published + PUBLISH_S:
            self._published = now
            await self._tuner.publish(self._context, self._folder)
            await self._tuner.require_data(self._context.principal, self._request)

    async def report(self, stage: str) -> None:
        """Records the newest step. Raises `LeaseLost` when the job was cancelled."""
        await self._context.progress(self._step, self._steps, stage)


def _count(paths: Iterable[str]) -> int:
    """Returns the number of rows of files."""
    found = 0
    for path in paths:
        with Path(path).open("rb") as lines:
            found += sum(1 for line in lines if line.strip())
    return found


async def _save(content: Any, path: Path) -> None:
    with path.open("wb") as file:
        async for chunk in content:
            await asyncio.to_thread(file.write, chunk)
        file.flush()
        os.fsync(file.fileno())
