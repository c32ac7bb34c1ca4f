"""`/v1/vector_stores`: collections of documents, and search in them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import one_of, page_query, page_response, text_query
from serving.api.services import Services
from serving.api.vector_store_files import (
    LONGEST_CHUNK_ID,
    STATUSES,
    chunk_page,
    chunking_of,
    naming,
    ordinal_of,
    render_chunk,
    render_counts,
    render_file,
    storage_of,
    wanted_chunks,
)
from serving.inference.charging import charged
from serving.inference.exchange import Exchange
from serving.protocol.errors import invalid
from serving.protocol.vector_stores import (
    SearchRequest,
    VectorStoreFileRequest,
    VectorStoreFileUpdate,
    VectorStoreRequest,
    VectorStoreUpdate,
)
from serving.retrieval.types import Hit
from serving.store.access import access_document
from serving.store.attachments.attaching import NewFile
from serving.store.vector_stores import VectorStore

SEARCH = "vector_store.search"
"""Model name of searches in usage and quotas: they use no model."""

CONTENT = "vector_store.content"
"""Model name of reading a file's text or chunks in usage and quotas."""


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a vector store, with files if any are named."""
    body = await read_json(request, VectorStoreRequest, s.limits)
    if len(body.file_ids or ()) > (most := s.limits.attached_files):
        raise invalid(f"At most {most} files are accepted at once; add the others with a file batch.", "file_ids")
    access = body.access.stored if body.access is not None else None
    chunking = chunking_of(body.chunking_strategy)
    asked = [NewFile(file_id, chunking=chunking) for file_id in dict.fromkeys(body.file_ids or ())]
    places = {file_id: place for place, file_id in enumerate(body.file_ids or ())}

    async def make() -> VectorStore:
        # If an id is wrong or a quota is exceeded, the store is not created either.
        made = await s.vector_stores.create(x.caller, name=body.name, metadata=body.metadata, access=access)
        if asked:
            await s.vector_stores.attach_all(x.caller, made.id, asked, meter=storage_of(s, x))
        await x.record(made.id)
        return await s.vector_stores.get(x.caller, made.id)

    with naming(lambda id: f"file_ids[{places[id]}]"):
        return JsonResponse(_store(await s.database.atomically(make)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the vector stores that the caller may read, or those of one name."""
    name = text_query(request, "name", 256)
    return page_response(await s.vector_stores.list(x.caller, name=name, **page_query(request)), _store)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a vector store."""
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
    """Attaches a file to a vector store; it is ingested in the background."""
    body = await read_json(request, VectorStoreFileRequest, s.limits)
    with naming("file_id"):
        file = await s.vector_stores.attach(
            x.caller,
            request.path_params["store_id"],
            body.file_id,
            attributes=body.attributes,
            chunking=chunking_of(body.chunking_strategy),
            access=body.list_given,
            meter=storage_of(s, x),
        )
    return JsonResponse(render_file(file))


async def list_files(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a vector store's files, or those of one status."""
    status: Any = one_of(request.query_params.get("filter"), "filter", STATUSES)
    page = await s.vector_stores.list_files(
        x.caller, request.path_params["store_id"], status=status, **page_query(request)
    )
    return page_response(page, render_file)


async def get_file(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the progress of a file's ingestion."""
    path = request.path_params
    return JsonResponse(render_file(await s.vector_stores.get_file(x.caller, path["store_id"], path["file_id"])))


async def update_file(s: Services, request: Request, x: Exchange) -> Response:
    """Replaces a file's attributes in a vector store."""
    body = await read_json(request, VectorStoreFileUpdate, s.limits)
    path = request.path_params
    return JsonResponse(
        render_file(await s.vector_stores.update_file(x.caller, path["store_id"], path["file_id"], body.attributes))
    )


async def detach(s: Services, request: Request, x: Exchange) -> Response:
    """Removes a file from a vector store; the file itself stays."""
    path = request.path_params
    await s.vector_stores.detach(x.caller, path["store_id"], path["file_id"])
    return JsonResponse({"id": path["file_id"], "object": "vector_store.file.deleted", "deleted": True})


async def content(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the text of a file in a vector store, as it is indexed."""
    path = request.path_params
    attached = await s.vector_stores.get_file(x.caller, path["store_id"], path["file_id"])
    file = await s.files.get_any(x.caller.tenant, attached.file_id)
    x.timeline.end_of("receive")
    async with x.cancelled_by_hang_up(), charged(s.keeper, x, model=CONTENT), s.admission.admit():
        x.timeline.end_of("admit")
        with x.timeline.during("retrieve"):
            text = await s.attached_files.document(x.caller, file)
    return JsonResponse(
        {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": text}],
            "has_more": False,
            "next_page": None,
        }
    )


async def chunks(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the chunks of a file in a vector store, as searches find them, by default from the document's beginning."""
    path, query = request.path_params, page_query(request, order="asc", longest_id=LONGEST_CHUNK_ID)
    file = await s.vector_stores.get_file(x.caller, path["store_id"], path["file_id"])
    at = ordinal_of(query["after"], file)
    wanted = wanted_chunks(at, query["limit"], query["order"])
    x.timeline.end_of("receive")
    async with x.cancelled_by_hang_up(), charged(s.keeper, x, model=CONTENT), s.admission.admit():
        x.timeline.end_of("admit")
        with x.timeline.during("retrieve"):
            found = await s.retrieval.chunks(x.caller, file.vector_store_id, file.file_id, wanted)
    return page_response(chunk_page(found, at, query["limit"], query["order"]), lambda chunk: render_chunk(chunk, file))


async def search(s: Services, request: Request, x: Exchange) -> Response:
    """Searches a vector store by words and by meaning."""
    body = await read_json(request, SearchRequest, s.limits)
    store = await s.vector_stores.get(x.caller, request.path_params["store_id"])
    queries = [body.query] if isinstance(body.query, str) else body.query
    x.timeline.end_of("receive")
    async with (
        x.cancelled_by_hang_up(),
        charged(s.keeper, x, model=SEARCH),
        s.admission.admit(within=x.run is not None),
    ):
        x.timeline.end_of("admit")
        with x.timeline.during("retrieve"):
            least = (body.ranking_options.score_threshold if body.ranking_options is not None else None) or 0.0
            hits = await _hits(s, x, store.id, body, queries, least)
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
            "search_query": queries,
            "data": data,
            "has_more": False,
            "next_page": None,
        }
    )


async def _hits(
    s: Services, x: Exchange, store_id: str, body: SearchRequest, queries: Sequence[str], least: float
) -> list[Hit]:
    """Returns the best hits of all queries; a hit of several queries has its best score."""
    ask = [
        s.retrieval.search(x.caller, store_id, query, body.max_num_results, body.filters, least) for query in queries
    ]
    found = await asyncio.gather(*ask)
    if len(found) == 1:
        return found[0]
    best: dict[str, Hit] = {}
    for hit in itertools.chain.from_iterable(found):
        if hit.chunk_id not in best or hit.score > best[hit.chunk_id].score:
            best[hit.chunk_id] = hit
    return sorted(best.values(), key=lambda hit: hit.score, reverse=True)[: body.max_num_results]


def _store(store: VectorStore) -> dict[str, Any]:
    return {
        "id": store.id,
        "object": "vector_store",
        "name": store.name,
        "created_at": int(store.created_at),
        "last_active_at": int(store.last_active_at),
        "status": store.status,
        "metadata": store.metadata,
        "usage_bytes": store.usage_bytes,
        "file_counts": render_counts(store.file_counts),
        "headrace": {"owner": store.user, "access": access_document(store.access)},
    }
