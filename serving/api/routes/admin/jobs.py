"""`/v1/admin/jobs`: a tenant's background work, with what it is about but none of its content, and its cancellation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse
from serving.api.paging import one_of, page_query, page_response, text_query
from serving.api.services import Services
from serving.assistants.memory.jobs import REMEMBER
from serving.core.principal import Principal
from serving.hub.evaluations import EVALUATE
from serving.hub.jobs.freezing import FREEZE
from serving.hub.jobs.tuning import TUNE
from serving.inference.exchange import Exchange
from serving.store.background.batches import BATCH
from serving.store.background.responses import RESPOND
from serving.store.background.webhooks import DELIVER
from serving.store.errors import Conflict, NotFound
from serving.store.jobs.job import Job, Status
from serving.store.vector_store import INGEST

CANCELLABLE = frozenset((BATCH, DELIVER, EVALUATE, FREEZE, INGEST, REMEMBER, RESPOND, TUNE))
"""Kinds of jobs that do what somebody asked for, and whose cancellation ends that too. The others remove data or keep
indexes and the database in order: without their end, something would stay that was deleted.
"""


_SUBJECTS = {
    "file_id": "file",
    "vector_store_id": "vector_store",
    "batch_id": "batch",
    "evaluation_id": "evaluation",
    "dataset": "dataset",
    "base": "model",
}
"""Fields of payloads whose ids an operator may see, with the kind of thing. A person's conversations, answers and name
are not among them.
"""


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's background jobs, newest first, or those of one kind or status."""
    principal = await acting(s, request, x)
    status: Any = one_of(request.query_params.get("status"), "status", get_args(Status))
    given = page_query(request)
    found = await s.jobs.list(
        principal, kind=text_query(request, "kind", 64), status=status, after=given["after"], limit=given["limit"]
    )
    names = await _names(s, principal, found.items)
    return page_response(found, lambda job: _render(job, names))


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Cancels a job: a queued one at once, a running one when its worker notices."""
    principal = await acting(s, request, x)
    job = await s.jobs.get(principal, request.path_params["job_id"])
    if job.kind not in CANCELLABLE:
        raise Conflict(f"jobs of the kind {job.kind} must complete")
    if job.kind == DELIVER and await _is_of_hidden_webhook(s, principal, job):
        raise NotFound("job", job.id)
    if job.finished_at is not None:
        raise Conflict(f"the job is {job.status}")
    if not job.can_be_cancelled:
        x.unchanged()
    if job.kind == BATCH:
        return JsonResponse(await _cancel_batch(s, x, job))
    cancelled = await s.jobs.cancel(principal, job.id)
    if cancelled.status in ("succeeded", "failed"):  # it has just ended
        raise Conflict(f"the job is {cancelled.status}")
    return JsonResponse(_render(cancelled, await _names(s, principal, [cancelled])))


async def _is_of_hidden_webhook(s: Services, principal: Principal, job: Job) -> bool:
    """Returns whether a delivery is to a webhook of the platform, which does not exist for the tenant."""
    try:
        webhook = await s.webhooks.get(job.tenant, job.payload["webhook_id"])
    except NotFound:
        return False  # it was deleted
    return webhook.set_by == "platform" and "platform" not in principal.scopes


async def _cancel_batch(s: Services, x: Exchange, job: Job) -> dict[str, Any]:
    """Cancels the batch of a job as its owner would: the job then writes the answers that it has, and completes."""
    try:
        if (await s.batches.get(job.principal, job.payload["batch_id"])).status in ("cancelling", "cancelled"):
            x.unchanged()
        await s.batches.cancel(job.principal, job.payload["batch_id"])
    except NotFound:  # its owner was erased, and the job finds nothing to do
        raise Conflict("the batch of the job was deleted") from None
    return _render(job, {}) | {"cancel_requested": True}


def _subjects(job: Job) -> dict[str, str]:
    """Returns the kinds of things that a job is about, by id."""
    given = {**job.payload, **(job.payload["request"] if job.kind == TUNE and "request" in job.payload else {})}
    return {id: kind for field, kind in _SUBJECTS.items() if isinstance(id := given.get(field), str)}


async def _names(s: Services, principal: Principal, jobs: Iterable[Job]) -> Mapping[str, str]:
    """Returns the names of files and vector stores that the principal may read."""
    if "data:read" not in principal.scopes:
        return {}
    subjects = {id: kind for job in jobs for id, kind in _subjects(job).items()}
    files = [id for id, kind in subjects.items() if kind == "file"]
    stores = [id for id, kind in subjects.items() if kind == "vector_store"]
    named = await s.files.names(principal, files) if files else {}
    return named | (await s.vector_stores.names(principal, stores) if stores else {})


def _render(job: Job, names: Mapping[str, str]) -> dict[str, Any]:
    # Payloads, messages and the texts of errors may quote a user's documents.
    return {
        "id": job.id,
        "object": "job",
        "kind": job.kind,
        "subjects": [{"type": kind, "id": id, "name": names.get(id)} for id, kind in _subjects(job).items()],
        "status": job.status,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "cancellable": job.kind in CANCELLABLE and job.can_be_cancelled,
        "cancel_requested": job.cancel_requested,
        "done": job.done,
        "total": job.total,
        "error_code": job.error_code,
        "created_at": int(job.created_at),
        "started_at": _seconds(job.started_at),
        "finished_at": _seconds(job.finished_at),
    }


def _seconds(at: float | None) -> int | None:
    return int(at) if at is not None else None
