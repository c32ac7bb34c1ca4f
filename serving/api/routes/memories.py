"""`/v1/memories`: what assistants remember about the caller, who can read and edit it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response, text_query
from serving.api.services import Services
from serving.config import FactsMemory
from serving.core.ids import new_id
from serving.inference.exchange import Exchange
from serving.protocol.errors import invalid
from serving.protocol.memories import MemoryRequest, MemoryUpdate
from serving.store.memories import Fact


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Adds a memory of the caller for an assistant."""
    body = await read_json(request, MemoryRequest, s.limits)
    assistant = s.catalog.current.router.assistant(body.assistant, x.caller)
    if assistant is None or not isinstance(assistant.memory, FactsMemory):
        raise invalid("There is no assistant of that name whose memory is of kind facts.", "assistant")
    return JsonResponse(_memory(await s.memories.add(x.caller, assistant.name, body.text)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the caller's memories, or those for one assistant."""
    assistant = text_query(request, "assistant", 128)
    return page_response(await s.memories.list_facts(x.caller, assistant=assistant, **page_query(request)), _memory)


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Changes the text of a memory."""
    body = await read_json(request, MemoryUpdate, s.limits)
    return JsonResponse(_memory(await s.memories.update(x.caller, request.path_params["memory_id"], body.text)))


async def delete_all(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes all memories of the caller, or those for one assistant; the receipt has the answer's `id`."""
    id = new_id("del")
    deleted = await s.memories.delete_all(x.caller, assistant=text_query(request, "assistant", 128))
    if deleted:
        await x.record(id, {"deleted": deleted})
    else:
        x.unchanged()
    return JsonResponse({"id": id if deleted else None, "object": "memories.deleted", "deleted": deleted})


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a memory; the receipt of the deletion has the memory's id."""
    id = request.path_params["memory_id"]
    await s.memories.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "memory.deleted", "deleted": True})


def _memory(fact: Fact) -> dict[str, Any]:
    return {
        "id": fact.id,
        "object": "memory",
        "created_at": int(fact.created_at),
        "assistant": fact.assistant,
        "text": fact.text,
        "made_by": fact.made_by,
        "conversation_id": fact.conversation_id,
    }
