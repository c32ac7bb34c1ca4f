"""`/v1/vector_stores`: collections of documents, and search over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import one_of, page_query, page_response, text_query
from serving.api.services import Services
from serving.inference.charging import charged
from serving.inference.exchange import Exchange
from serving.metering.charge import require_storage, storage_meter
from serving.protocol.errors import invalid, not_found
from serving.protocol.vector_stores import (
    ChunkingStrategy,
    SearchRequest,
    VectorStoreFileRequest,
    VectorStoreFileUpdate,
    VectorStoreRequest,
    VectorStoreUpdate,
)
from serving.store.access import access_document
from serving.store.errors import NotFound
from serving.store.quotas import Meter
from serving.store.vector_stores import VectorStore, VectorStoreFile

FILES_AT_ONCE = 50
"""With an idempotency key all of a request is one transaction, and SQLite lets nobody else write meanwhile."""

SEARCH = "vector_store.search"
"""What usage and quotas call a search, which asks no model."""

STATUSES = ("in_progress", "completed", "failed", "cancelled")


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Makes a vector store, with files if any are named."""
    body = await read_json(request, VectorStoreRequest, s.limits)
    if "idempotency-key" in request.headers and len(body.file_ids or ()) > FILES_AT_ONCE:
        raise invalid(f"With an Idempotency-Key at most {FILES_AT_ONCE} files are taken at once.", "file_ids")
    if len(body.file_ids or ()) > (most := s.limits.attached_files):
        raise invalid(f"At most {most} files are taken at once: attach the others one by one.", "file_ids")
    size = 0
    for place, file_id in enumerate(body.file_ids or ()):
        with _naming(f"file_ids[{place}]"):
            # Before anything is made: a wrong id, or a quota that is reached, leaves no store behind.
            size += (await s.files.get(x.caller, file_id)).bytes
    if body.file_ids:
        await require_storage(s.quotas, s.keeper, x.caller, attachments=len(body.file_ids), stored_bytes=size)
    access = body.access.stored if body.access is not None else None

    async def make() -> VectorStore:
        made = await s.vector_stores.create(x.caller, name=body.name, metadata=body.metadata, access=access)
        await x.record(made.id)
        return made

    store = await s.database.atomically(make)
    for file_id in body.file_ids or ():
        chunking = _chunking(body.chunking_strategy)
        await s.vector_stores.attach(x.caller, store.id, file_id, chunking=chunking, meter=_meter(s, x))
    return JsonResponse(_store(await s.vector_stores.get(x.caller, store.id)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the vector stores that the caller may read, or those of one name."""
    name = text_query(request, "name", 256)
    return page_response(await s.vector_stores.list(x.caller, name=name, **page_query(request)), _store)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Describes a vector store."""
    return JsonResponse(_store(await s.vector_stores.get(x.caller, request.path_params["store_id"])))


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Changes a vector store's name, metadata or access list."""
    body = await read_json(request, VectorStoreUpdate, s.limits)
    store = await s.vector_stores.update(
        x.caller, request.path_params["store_id"], name=body.name, metadata=body.metadata, access=body.list_given
    )
    return JsonResponse(_store(store))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a vector store; its files stay."""
    store_id = request.path_params["store_id"]
    await s.vector_stores.delete(x.caller, store_id)
    return JsonResponse({"id": store_id, "object": "vector_store.deleted", "deleted": True})


async def attach(s: Services, request: Request, x: Exchange) -> Response:
    """Puts a file into a vector store; it is ingested in the background."""
    body = await read_json(request, VectorStoreFileRequest, s.limits)
    with _naming("file_id"):
        file = await s.vector_stores.attach(
            x.caller,
            request.path_params["store_id"],
            body.file_id,
            attributes=body.attributes,
            chunking=_chunking(body.chunking_strategy),
            access=body.list_given,
            meter=_meter(s, x),
        )
    return JsonResponse(_file(file))


async def list_files(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a vector store's files, or those of one status."""
    status: Any = one_of(request.query_params.get("filter"), "filter", STATUSES)
    page = await s.vector_stores.list_files(
        x.caller, request.path_params["store_id"], status=status, **page_query(request)
    )
    return page_response(page, _file)


async def get_file(s: Services, request: Request, x: Exchange) -> Response:
    """Says how far a file's ingestion is."""
    path = request.path_params
    return JsonResponse(_file(await s.vector_stores.get_file(x.caller, path["store_id"], path["file_id"])))


async def update_file(s: Services, request: Request, x: Exchange) -> Response:
    """Replaces a file's attributes in a vector store."""
    body = await read_json(request, VectorStoreFileUpdate, s.limits)
    path = request.path_params
    return JsonResponse(
        _file(await s.vector_stores.update_file(x.caller, path["store_id"], path["file_id"], body.attributes))
    )


async def detach(s: Services, request: Request, x: Exchange) -> Response:
    """Takes a file out of a vector store; the file stays."""
    path = request.path_params
    await s.vector_stores.detach(x.caller, path["store_id"], path["file_id"])
    return JsonResponse({"id": path["file_id"], "object": "vector_store.file.deleted", "deleted": True})


async def search(s: Services, request: Request, x: Exchange) -> Response:
    """Searches a vector store by words and by meaning."""
    body = await read_json(request, SearchRequest, s.limits)
    store = await s.vector_stores.get(x.caller, request.path_params["store_id"])
    x.timeline.end_of("receive")
    async with x.cancelled_by_hang_up(), charged(s.keeper, x, model=SEARCH), s.admission.admit():
        x.timeline.end_of("admit")
        with x.timeline.during("retrieve"):
            least = (body.ranking_options.score_threshold if body.ranking_options is not None else None) or 0.0
            hits = await s.retrieval.search(x.caller, store.id, body.query, body.max_num_results, body.filters, least)
            attributes = await s.vector_stores.attributes(x.caller, store.id, [hit.file_id for hit in hits])
    data = [
        {
            "file_id": hit.file_id,
            "filename": hit.file_name,
            "score": min(max(hit.score, 0.0), 1.0),
            "attributes": attributes.get(hit.file_id, {}),
            "content": [{"type": "text", "text": hit.text}],
            "headrace": {
                "title": hit.title,
                "heading": hit.heading,
                "position": {"start": hit.start, "end": hit.end, "page": hit.page},
                "similarity": hit.dense_score,
            },
        }
        for hit in hits
    ]
    return JsonResponse(
        {
            "object": "vector_store.search_results.page",
            "search_query": [body.query],
            "data": data,
            "has_more": False,
            "next_page": None,
        }
    )


def _chunking(asked: ChunkingStrategy | None) -> dict[str, Any] | None:
    return asked.model_dump() if asked is not None else None


def _meter(s: Services, x: Exchange) -> Callable[[int], Meter]:
    """Counts an attachment, of whose index as many bytes are expected as the file has."""
    return lambda size: storage_meter(s.keeper, x.caller, attachments=1, stored_bytes=size)


@contextmanager
def _naming(param: str) -> Iterator[None]:
    """Says of a file that is not there which field of the body names it: the path is right."""
    try:
        yield
    except NotFound as e:
        raise not_found(e.kind, param if e.kind == "file" else None) from None


def _store(store: VectorStore) -> dict[str, Any]:
    counts = store.file_counts
    return {
        "id": store.id,
        "object": "vector_store",
        "name": store.name,
        "created_at": int(store.created_at),
        "last_active_at": int(store.last_active_at),
        "status": store.status,
        "metadata": store.metadata,
        "usage_bytes": store.usage_bytes,
        "file_counts": {
            "in_progress": counts.in_progress,
            "completed": counts.completed,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "total": counts.total,
        },
        "headrace": {"owner": store.user, "access": access_document(store.access)},
    }


def _file(file: VectorStoreFile) -> dict[str, Any]:
    failed = file.error_code is not None
    return {
        "id": file.file_id,
        "object": "vector_store.file",
        "vector_store_id": file.vector_store_id,
        "created_at": int(file.created_at),
        "status": file.status,
        "usage_bytes": file.usage_bytes,
        "last_error": {"code": file.error_code, "message": file.error_message} if failed else None,
        "attributes": file.attributes,
        "chunking_strategy": file.chunking or {"type": "auto"},
        "headrace": {"access": access_document(file.access)},
    }
