"""Freezes data sets: rows of rated answers, or of uploaded files, copied and identified by their digest."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.principal import Principal
from serving.exports import source
from serving.exports.export import NothingToExport, Order, Redact, export
from serving.exports.folder import ExportFolder
from serving.exports.formats import FORMATS
from serving.exports.manifest import MANIFEST, Filters
from serving.hub.datasets import Dataset, Datasets, end_building
from serving.protocol.tuning import DatasetRequest
from serving.protocol.validation import field_path
from serving.store.errors import Conflict, InvalidValue, NotFound, TooMany
from serving.store.files import Files
from serving.store.jobs.queue import Job, Jobs, Json
from serving.store.jobs.worker import Handler, JobContext, PermanentError
from serving.store.objects.blobs import Blobs
from serving.store.relational.database import Database

FREEZE = "freeze_dataset"
"""Job kind: payload {"dataset", "request"}, a `DatasetRequest`."""

PURPOSE = "fine-tune"
"""The purpose of uploaded rows."""

MAX_ROWS = 1_000_000

MAX_BUILDING = 20
"""Maximum number of data sets of a tenant that are building."""


async def begin(datasets: Datasets, jobs: Jobs, principal: Principal, request: DatasetRequest) -> Dataset:
    """Begins a data set and enqueues the job that fills it, in the caller's transaction."""
    asked = {"request": request.model_dump(mode="json", exclude_unset=True)}  # so that it can be made again
    dataset = await datasets.begin(principal, format=request.format, manifest=asked)
    await jobs.enqueue(principal, FREEZE, {"dataset": dataset.id, **asked})
    return dataset


class DatasetRequests:
    """Begins data sets: the part of a gateway."""

    def __init__(self, database: Database, jobs: Jobs, datasets: Datasets, files: Files) -> None:
        jobs.on_end(FREEZE, _end)  # a queued job ends where it is cancelled
        self._database = database
        self._jobs = jobs
        self._datasets = datasets
        self._files = files

    async def create(self, principal: Principal, request: DatasetRequest) -> Dataset:
        """Begins a data set and enqueues the job that fills it. Raises `NotFound`, `TooMany`, and `InvalidValue` for a
        file of another purpose.
        """
        for param, id in (("file", request.file), ("validation_file", request.validation_file)):
            if id is not None and (await self._files.get(principal, id)).purpose != PURPOSE:
                raise InvalidValue(param, f"must have been uploaded with the purpose {PURPOSE}")

        building = await self._datasets.list(principal, status="building", limit=MAX_BUILDING)
        if len(building.items) == MAX_BUILDING:
            raise TooMany(f"{MAX_BUILDING} data sets of the tenant are building: wait until some are ready")

        return await self._database.atomically(partial(begin, self._datasets, self._jobs, principal, request))


class Freezing:
    """Fills data sets: the part of the process that runs the hub's jobs. `scratch` is a folder for temporary files."""

    def __init__(
        self, database: Database, jobs: Jobs, datasets: Datasets, files: Files, blobs: Blobs, scratch: Path
    ) -> None:
        jobs.on_end(FREEZE, _end)
        self._database = database
        self._datasets = datasets
        self._files = files
        self._blobs = blobs
        self._scratch = scratch

    @property
    def handlers(self) -> dict[str, Handler]:
        return {FREEZE: self._freeze}

    async def _freeze(self, context: JobContext) -> Json:
        id = context.job.payload["dataset"]
        try:
            if (dataset := await self._datasets.get(context.principal, id)).status == "ready":
                return _result(dataset)  # by an attempt that was killed before it could say so
        except NotFound as e:
            raise PermanentError("dataset_retired", str(e)) from None
        request = DatasetRequest.model_validate(context.job.payload["request"])
        target = self._scratch / id
        await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)  # of an attempt that was killed
        try:
            fill = self._copied if request.file is not None else self._exported
            manifest, counts, people = await fill(context, request, target)
            await context.check()
            return await self._finish(context, request, target, manifest, counts, people)
        except (NothingToExport, InvalidValue) as e:
            await self._datasets.retire(context.principal, id, str(e))
            raise PermanentError("no_rows", str(e)) from None
        except PermanentError as e:
            await self._datasets.retire(context.principal, id, e.message)
            raise
        except (NotFound, Conflict) as e:  # it ended meanwhile, by an erasure or by its owner
            raise PermanentError("dataset_retired", str(e)) from None
        finally:
            await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)

    async def _exported(
        self, context: JobContext, request: DatasetRequest, target: Path
    ) -> tuple[Json, Json, Iterable[str]]:
        filters = Filters(
            tenant=context.job.tenant,
            since=request.since,
            until=request.until,
            assistant=request.assistant,
            model=request.model,
            min_score=request.min_score,
            tags=tuple(request.tags),
        )
        total = sum(request.splits.values())
        shares = {name: share / total for name, share in request.splits.items()}
        order = Order(request.format, filters, shares, request.seed, alike=request.alike, per_user=request.per_user)
        rows_of: Counter[str] = Counter()
        with ExportFolder(target) as folder:
            manifest = await export(
                source.completions(self._database, filters),
                order,
                folder,
                redactor() if request.redact else None,
                without_consent=await source.without_consent(self._database, filters),
                rows_of=rows_of,
            )
        return manifest.model_dump(mode="json"), manifest.counts.model_dump(), rows_of

    async def _copied(
        self, context: JobContext, request: DatasetRequest, target: Path
    ) -> tuple[Json, Json, Iterable[str]]:
        """Writes the rows of uploaded files, each of which is checked."""
        target.mkdir(parents=True, mode=0o700)
        rows, people = 0, {context.job.user}
        for split, id in (("train", request.file), ("test", request.validation_file)):
            if id is None:
                continue
            file = await self._files.get(context.principal, id)
            if file.user is not None:
                people.add(file.user)
            content = await self._blobs.read(context.principal, id)
            rows += await asyncio.to_thread(_write_rows, content, request.format, target / f"{split}.jsonl")
        return {"format": request.format, "file": request.file}, {"rows": rows}, people

    async def _finish(
        self,
        context: JobContext,
        request: DatasetRequest,
        target: Path,
        manifest: Json,
        counts: Json,
        people: Iterable[str],
    ) -> Json:
        id = context.job.payload["dataset"]
        for file in sorted(target.iterdir()):
            if file.name != MANIFEST:
                await self._datasets.add(context.principal, id, file.name, file)
        digest = await asyncio.to_thread(rows_digest, target, request.format)
        asked = {"request": context.job.payload["request"]}
        ready = await self._datasets.finish(
            context.principal, id, digest=digest, manifest=manifest | asked, counts=counts, people=list(people)
        )
        return _result(ready)


def _result(dataset: Dataset) -> Json:
    return {"dataset": dataset.id, "digest": dataset.digest, "counts": dataset.counts}


async def _end(connection: AsyncConnection, job: Job) -> None:
    """Ends the data set of a job that failed: jobs that wait for it would wait forever."""
    if job.status in ("failed", "cancelled"):
        await end_building(connection, job.payload["dataset"], job.error_message or "its job was cancelled")


def rows_digest(folder: Path, format: str) -> str:
    """Returns the digest of a data set's rows: the same for the same rows in the same splits."""
    digest = hashlib.sha256(format.encode())
    for file in sorted(folder.glob("*.jsonl")):
        if not file.name.endswith(".lineage.jsonl"):
            with file.open("rb") as content:
                digest.update(f"\n{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def _write_rows(content: bytes, format: str, target: Path) -> int:
    """Writes uploaded rows and returns their number. Raises `PermanentError` for one that the format does not allow."""
    row = FORMATS[format].row
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines or len(lines) > MAX_ROWS:
        raise PermanentError("invalid_rows", f"the file must have from 1 to {MAX_ROWS} rows, and has {len(lines)}")
    with target.open("xb") as out:
        for number, line in enumerate(lines, 1):
            try:
                checked = row.model_validate_json(line)
            except ValidationError as e:
                first = e.errors(include_url=False, include_context=False, include_input=False)[0]
                where = field_path(row, first["loc"]) or "the row"
                raise PermanentError("invalid_rows", f"row {number} of the file: {where}: {first['msg']}") from None
            out.write(checked.model_dump_json().encode() + b"\n")
    return len(lines)


def redactor() -> Redact:
    """Returns what removes personal data. Raises `PermanentError` where its packages are not installed."""
    try:
        from serving.exports.redaction import Redactor
    except ImportError as e:
        message = f"redaction needs {e.name}, which `make redaction` installs; `redact: false` works without it"
        raise PermanentError("no_redaction", message) from None
    return Redactor()


def document(dataset: Dataset) -> dict[str, Any]:
    """Returns a data set as the API shows it."""
    return {
        "id": dataset.id,
        "object": "hub.dataset",
        "format": dataset.format,
        "status": dataset.status,
        "reason": dataset.reason or None,
        "digest": dataset.digest or None,
        "counts": dataset.counts,
        "manifest": dataset.manifest,
        "files": [file.document for file in dataset.files],
        "created_at": int(dataset.created_at),
        "created_by": dataset.created_by,
        "ready_at": int(dataset.ready_at) if dataset.ready_at is not None else None,
        "retired_at": int(dataset.retired_at) if dataset.retired_at is not None else None,
    }
