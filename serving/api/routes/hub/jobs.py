"""`/v1/hub/jobs`: jobs that make versions of models."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.hub.tuning import create_job
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.hub.jobs.tuning import document
from serving.inference.exchange import Exchange
from serving.protocol.tuning import JobRequest


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Queues a job."""
    return JsonResponse(document(await create_job(s, x.caller, await read_json(request, JobRequest, s.limits))))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's jobs, newest first."""
    query = page_query(request)
    return page_response(
        await s.registry.tuning_jobs.list(x.caller, after=query["after"], limit=query["limit"]), document
    )


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a job with its progress."""
    return JsonResponse(document(await s.registry.tuning_jobs.get(x.caller, request.path_params["job_id"])))


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Cancels a job; a running one ends within seconds, and makes no version."""
    id = request.path_params["job_id"]
    if not (await s.registry.tuning_jobs.get(x.caller, id)).can_be_cancelled:
        x.unchanged()
    return JsonResponse(document(await s.registry.tuning_jobs.cancel(x.caller, id)))


async def events(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the newest 10,000 events of a job, such as the loss of each step, the oldest first."""
    found = await s.registry.tuning_jobs.events(x.caller, request.path_params["job_id"])
    return JsonResponse({"object": "list", "data": [{"object": "hub.job.event", **event} for _, event in found]})
