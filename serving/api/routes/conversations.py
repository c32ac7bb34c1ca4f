"""`/v1/conversations`: messages that are stored between requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.assistants.items import characters
from serving.config import Limits
from serving.inference.exchange import Exchange
from serving.metering.charge import storage_meter
from serving.protocol.conversations import ConversationItemsRequest, ConversationRequest, ItemBody, MetadataUpdate
from serving.protocol.errors import invalid
from serving.store.conversations import Conversation, Item
from serving.store.relational.rows import Page


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a conversation, with its first items if any are given."""
    body = await read_json(request, ConversationRequest, s.limits)
    items = _bodies(body.items or (), s.limits)
    meter = storage_meter(s.keeper, x.caller, items=1 + len(items))  # an empty one counts too
    made = await s.conversations.create(x.caller, metadata=body.metadata, items=items, meter=meter)
    return JsonResponse(_conversation(made))


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a conversation."""
    return JsonResponse(_conversation(await s.conversations.get(x.caller, request.path_params["conversation_id"])))


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Replaces a conversation's metadata."""
    body = await read_json(request, MetadataUpdate, s.limits)
    id = request.path_params["conversation_id"]
    return JsonResponse(_conversation(await s.conversations.update(x.caller, id, metadata=body.metadata)))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a conversation with all its items."""
    id = request.path_params["conversation_id"]
    await s.conversations.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "conversation.deleted", "deleted": True})


async def add_items(s: Services, request: Request, x: Exchange) -> Response:
    """Adds items to a conversation, all or none."""
    body = await read_json(request, ConversationItemsRequest, s.limits)
    items = _bodies(body.items, s.limits)
    meter = storage_meter(s.keeper, x.caller, items=len(items))
    id = request.path_params["conversation_id"]
    added = await s.conversations.add(x.caller, id, items, lambda connection, _: meter(connection))
    return page_response(Page(added, has_more=False), _item)


async def list_items(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a conversation's items."""
    id = request.path_params["conversation_id"]
    return page_response(await s.conversations.list_items(x.caller, id, **page_query(request)), _item)


async def get_item(s: Services, request: Request, x: Exchange) -> Response:
    """Returns an item of a conversation."""
    path = request.path_params
    return JsonResponse(_item(await s.conversations.get_item(x.caller, path["conversation_id"], path["item_id"])))


async def delete_item(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes an item and returns its conversation."""
    path = request.path_params
    left = await s.conversations.delete_item(x.caller, path["conversation_id"], path["item_id"])
    return JsonResponse(_conversation(left))


def _bodies(items: Sequence[ItemBody], limits: Limits) -> list[dict[str, Any]]:
    """Returns items in their stored form; raises a 400 for more text than one request may have."""
    bodies = [item.model_dump(exclude_none=True) for item in items]
    if characters(bodies) > limits.characters:
        raise invalid(f"The items have more than {limits.characters} characters.", "items", "too_long")
    return bodies


def _conversation(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": int(conversation.created_at),
        "metadata": conversation.metadata,
    }


def _item(item: Item) -> dict[str, Any]:
    return {"id": item.id, **item.body}
