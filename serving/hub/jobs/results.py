"""Registers what a job made as a version."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.core.principal import Principal
from serving.hub.adapter import InvalidAdapter, check_adapter, to_gguf
from serving.hub.base_facts import base_facts
from serving.hub.datasets import Datasets
from serving.hub.evaluation.raters import influence
from serving.hub.jobs.child import CHECKOUT, JobFolder
from serving.hub.jobs.tuning import EVENTS, recipe
from serving.hub.names import GGUF, Kind
from serving.hub.versions import MEASURED_FIELD, RATERS_FIELD, Version, Versions
from serving.protocol.tuning import JobRequest
from serving.store.errors import Conflict, NotFound
from serving.store.jobs.queue import Job
from serving.store.jobs.worker import PermanentError
from serving.tuning.plan import MEASURED, Plan

KINDS: dict[str, Kind] = {"prune": "model", "quantise": "model", "reward": "reward"}
"""The kinds of what methods make; the others make adapters."""


async def register(
    versions: Versions, datasets: Datasets, job: Job, request: JobRequest, plan: Plan, folder: JobFolder
) -> Version:
    """Returns the version that a job's results have become. It can be repeated after a crash.

    Raises `PermanentError` for an adapter that cannot be served, and `Conflict` when an erasure ended the version
    or the job was cancelled.
    """
    kind = KINDS.get(request.method, "adapter")
    if kind == "adapter":
        await asyncio.to_thread(_convert, plan)
    await _reject_earlier(versions, job.principal, folder)
    version = await versions.begin(
        job.principal,
        name=request.name,
        kind=kind,
        base=request.base,
        base_digest=plan.base.digest,
        method=request.method,
        rank=plan.rank if request.method not in ("prune", "quantise") else None,
        recipe=recipe(request)
        | {
            "teacher": request.teacher,
            "retain": request.retain,
            "without_rater": request.without_rater,
        },
        dataset=request.dataset,
        parents=(request.version,) if request.version is not None else (),
        provenance=await _provenance(datasets, job.principal, request, plan),
        card=await _card(datasets, job.principal, request, plan),
        job=job.id,
    )
    folder.begun.write_text(version.id, encoding="ascii")
    try:
        for file in sorted(plan.out.iterdir()):
            if file.is_file():
                await versions.add(job.principal, version.id, file.name, file)
        await versions.add(job.principal, version.id, EVENTS, folder.log)
        return await versions.finish(job.principal, version.id)
    except Conflict as e:  # by an erasure, which has ended it, or by whoever cancelled the job
        with suppress(NotFound, Conflict):
            await versions.reject(job.principal, version.id, str(e))
        raise


async def _card(datasets: Datasets, principal: Principal, request: JobRequest, plan: Plan) -> dict[str, Any] | None:
    """Returns the card of a version that no suite has been run on: what its job measured, and who rated its rows; None
    for nothing.
    """
    file = plan.out / MEASURED
    card: dict[str, Any] = {}
    if file.exists():
        card[MEASURED_FIELD] = json.loads(await asyncio.to_thread(file.read_bytes))
    if request.dataset is not None:
        raters = influence((await datasets.get(principal, request.dataset)).manifest)
        if raters is not None:
            card[RATERS_FIELD] = raters | {"left_out": request.without_rater}
    return card or None


def _convert(plan: Plan) -> None:
    """Checks an adapter, and writes it as llama.cpp reads it."""
    base = base_facts(Path(plan.base.path), digest=plan.base.digest)
    try:
        check_adapter(plan.out, base)
        to_gguf(plan.out, base, plan.out / GGUF)
    except InvalidAdapter as e:
        raise PermanentError("invalid_adapter", str(e)) from None


async def _reject_earlier(versions: Versions, principal: Principal, folder: JobFolder) -> None:
    """Ends the version that an attempt began which was killed before its end."""
    if folder.begun.exists():
        with suppress(NotFound, Conflict):
            id = folder.begun.read_text(encoding="ascii")
            await versions.reject(principal, id, "its job was killed while it was registered, and began again")


async def _provenance(datasets: Datasets, principal: Principal, request: JobRequest, plan: Plan) -> dict[str, Any]:
    prompts: list[str] = []
    digest = None
    if request.dataset is not None:
        dataset = await datasets.get(principal, request.dataset)
        digest = dataset.digest
        models = dataset.manifest.get("models") or ()
        prompts = sorted({model["prompt_version"] for model in models if model.get("prompt_version")})
    lock = CHECKOUT / "requirements" / ("serving.txt" if request.method == "quantise" else "training.txt")
    return {
        "code": os.environ.get("HEADRACE_BUILD"),
        "lock": await asyncio.to_thread(_sha256, lock) if lock.exists() else None,
        "image": os.environ.get("HEADRACE_IMAGE"),
        "seed": plan.seed,
        "prompt_version": prompts,
        "dataset_digest": digest,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
