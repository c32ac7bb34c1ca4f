"""`/v1/admin/erasures`: erases all data of a user, in the background."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.errors import not_found
from serving.protocol.memories import ErasureRequest
from serving.store.jobs.queue import Job


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Starts the erasure of a user, or counts the user's data; returns an erasure that is already in progress."""
    body = await read_json(request, ErasureRequest, s.limits)
    caller = await acting(s, request, x)
    named = s.audit.known_pseudonym if body.dry_run else s.audit.pseudonym  # counting creates no pseudonym
    subject = await named(caller.tenant, body.user)

    async def request_it() -> Job:
        job = await s.erasures.request(caller, body.user, subject, dry_run=body.dry_run)
        await x.record(job.id)
        return job

    return JsonResponse(_erasure(await s.database.atomically(request_it)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's recent erasures, newest first."""
    query = page_query(request)
    caller = await acting(s, request, x)
    return page_response(await s.erasures.list(caller, after=query["after"], limit=query["limit"]), _erasure)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the progress of an erasure."""
    caller = await acting(s, request, x)
    job = await s.erasures.get(caller, request.path_params["erasure_id"])
    if job is None:
        raise not_found("job")
    return JsonResponse(_erasure(job))


def _erasure(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "erasure",
        "created_at": int(job.created_at),
        "finished_at": int(job.finished_at) if job.finished_at is not None else None,
        "user": job.payload.get("user"),
        "subject": job.payload["subject"],
        "dry_run": job.payload["dry_run"],
        "status": job.status,
        "step": job.message,
        "counts": (job.result or job.payload).get("counts"),
        "error": job.error_message,
    }
