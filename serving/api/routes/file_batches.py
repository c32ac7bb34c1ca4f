"""`/v1/vector_stores/{id}/file_batches`: attaches many files to a vector store at once."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import one_of, page_query, page_response
from serving.api.services import Services
from serving.api.vector_store_files import STATUSES, chunking_of, naming, render_counts, render_file, storage_of
from serving.inference.exchange import Exchange
from serving.protocol.vector_stores import FileBatchRequest
from serving.store.attachments.attaching import NewFile
from serving.store.attachments.file_batches import FileBatch


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Attaches files to a vector store, all or none; they are ingested in the background."""
    body = await read_json(request, FileBatchRequest, s.limits)
    asked = _requested_files(body)
    places = {each.file_id: number for number, each in enumerate(asked)}
    with naming(lambda id: f"file_ids[{places[id]}]" if body.files is None else f"files[{places[id]}].file_id"):
        batch = await s.file_batches.create(x.caller, request.path_params["store_id"], asked, meter=storage_of(s, x))
    return JsonResponse(_render(batch))


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the progress of a file batch."""
    path = request.path_params
    return JsonResponse(_render(await s.file_batches.get(x.caller, path["store_id"], path["file_batch_id"])))


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Cancels the ingestion of files that are not in the vector store yet."""
    store, id = request.path_params["store_id"], request.path_params["file_batch_id"]
    before = await s.file_batches.get(x.caller, store, id)
    if before.status == "cancelled" or not before.file_counts.in_progress:
        x.unchanged()
    return JsonResponse(_render(await s.file_batches.cancel(x.caller, store, id)))


async def list_files(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the files of a file batch, or those of one status."""
    path = request.path_params
    status: Any = one_of(request.query_params.get("filter"), "filter", STATUSES)
    page = await s.file_batches.list_files(
        x.caller, path["store_id"], path["file_batch_id"], status=status, **page_query(request)
    )
    return page_response(page, render_file)


def _requested_files(body: FileBatchRequest) -> list[NewFile]:
    """Returns each file once, with its requested attributes and chunking."""
    if body.files is not None:
        return [
            NewFile(each.file_id, each.attributes, chunking_of(each.chunking_strategy), each.list_given)
            for each in body.files
        ]
    alike = body.attributes, chunking_of(body.chunking_strategy), body.list_given
    return [NewFile(file_id, *alike) for file_id in dict.fromkeys(body.file_ids or ())]


def _render(batch: FileBatch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "vector_store_id": batch.vector_store_id,
        "created_at": int(batch.created_at),
        "status": batch.status,
        "file_counts": render_counts(batch.file_counts),
    }
