"""`/v1/batches`: many requests in one file, answered in the background."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.metering.charge import require_storage
from serving.protocol.batches import BatchRequest
from serving.protocol.errors import forbidden, invalid, not_found
from serving.security.absent_callers import note
from serving.store.background.batches import Batch
from serving.store.errors import NotFound

WINDOW_S = 86_400.0

_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a batch."""
    body = await read_json(request, BatchRequest, s.limits)
    if "data:read" not in x.caller.scopes:
        raise forbidden("insufficient_scope", "A batch requires a key with the scope data:read.", "input_file_id")
    try:
        file = await s.files.get(x.caller, body.input_file_id)
    except NotFound:
        raise not_found("file", "input_file_id") from None
    if file.purpose != "batch":
        raise invalid("The file must have been uploaded with the purpose batch.", "input_file_id")
    await require_storage(s.quotas, s.keeper, x.caller, stored_bytes=1)
    batch = await s.batches.create(
        x.caller,
        caller=note(x.caller),
        endpoint=body.endpoint,
        input_file_id=file.id,
        lasts_s=WINDOW_S,
        metadata=body.metadata,
    )
    return JsonResponse(_render(batch))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the caller's batches, the newest first."""
    query = page_query(request)
    return page_response(await s.batches.list(x.caller, after=query["after"], limit=query["limit"]), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a batch in its current state."""
    return JsonResponse(_render(await s.batches.get(x.caller, request.path_params["batch_id"])))


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Cancels a batch, which keeps the answers that it has."""
    id = request.path_params["batch_id"]
    if (await s.batches.get(x.caller, id)).status in ("cancelling", "cancelled"):
        x.unchanged()
    return JsonResponse(_render(await s.batches.cancel(x.caller, id)))


def _render(batch: Batch) -> dict[str, Any]:
    times = {f"{name}_at": int(at) if (at := batch.times.get(name)) is not None else None for name in _TIMES}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "expires_at": int(batch.expires_at),
        **times,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata,
    }
