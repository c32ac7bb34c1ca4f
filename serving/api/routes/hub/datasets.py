"""`/v1/hub/datasets`: rows to train on, frozen from rated answers or uploaded files."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.hub.jobs.freezing import document
from serving.inference.exchange import Exchange
from serving.metering.charge import require_storage
from serving.protocol.errors import not_found
from serving.protocol.tuning import DatasetRequest
from serving.store.errors import NotFound


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Begins a data set, which is filled in the background."""
    body = await read_json(request, DatasetRequest, s.limits)
    s.registry.tuning_jobs.require_enabled()
    await require_storage(s.quotas, s.keeper, x.caller, stored_bytes=1)
    try:
        return JsonResponse(document(await s.registry.dataset_requests.create(x.caller, body)))
    except NotFound as e:
        raise not_found("file", "file" if e.id == body.file else "validation_file") from None


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's data sets."""
    return page_response(await s.registry.datasets.list(x.caller, **page_query(request)), document)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a data set with its manifest."""
    return JsonResponse(document(await s.registry.datasets.get(x.caller, request.path_params["dataset_id"])))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Retires a data set and deletes its rows; its manifest stays, and so do versions made of it."""
    reason = "it was deleted through the API"
    return JsonResponse(document(await s.registry.datasets.retire(x.caller, request.path_params["dataset_id"], reason)))
