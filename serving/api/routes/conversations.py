"""`/v1/conversations`: messages that are stored between requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import flag, list_query, page_query, page_response, text_query
from serving.api.services import Services
from serving.assistants.items import characters
from serving.config import Limits
from serving.core.ids import new_id
from serving.inference.exchange import Exchange
from serving.metering.charge import storage_meter
from serving.protocol.conversations import (
    ConversationItemsRequest,
    ConversationRequest,
    ConversationUpdate,
    ForkRequest,
    ItemBody,
)
from serving.protocol.errors import invalid
from serving.store.conversations import Conversation, Item
from serving.store.quotas import Meter
from serving.store.relational.rows import Page
from serving.store.sharing.sources import DETAIL


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a conversation, with its first items if any are given."""
    body = await read_json(request, ConversationRequest, s.limits)
    items = _bodies(body.items or (), s.limits)
    meter = storage_meter(s.keeper, x.caller, items=1 + len(items))  # an empty one counts too
    made = await s.conversations.create(x.caller, metadata=body.metadata, items=items, meter=meter)
    return JsonResponse(_conversation(made))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the caller's conversations, the most recently active first. `q` are words of titles and messages."""
    found = await s.conversation_list.page(
        x.caller,
        said=text_query(request, "q", 256),
        pinned=flag(request, "pinned"),
        archived=flag(request, "archived"),
        model=text_query(request, "model", 256),
        **page_query(request),
    )
    return page_response(found, _conversation)


async def delete_all(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes all conversations of the caller with their items; the receipt of the deletion has the answer's `id`."""
    id = new_id("del")

    async def record(deleted: int, finished: bool) -> None:
        if deleted:
            await x.record(id, {"deleted": deleted, "finished": finished})
        else:
            x.unchanged()

    deleted = await s.conversation_list.delete_all(x.caller, record)
    return JsonResponse({"id": id if deleted else None, "object": "conversations.deleted", "deleted": deleted})


async def fork(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a conversation with the items of another one, up to the item `after`, or those before `before`."""
    body = await read_json(request, ForkRequest, s.limits)

    def meter(items: int) -> Meter:
        return storage_meter(s.keeper, x.caller, items=items)

    id = request.path_params["conversation_id"]
    made = await s.forks.fork(x.caller, id, body.after, meter, before=body.before)
    return JsonResponse(_conversation(made))


async def branches(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a conversation with those that were forked from it and from which it was, and what each shares."""
    found = await s.forks.branches(x.caller, request.path_params["conversation_id"])
    data = [
        {
            "object": "conversation.branch",
            "id": each.id,
            "created_at": int(each.created_at),
            "title": each.title,
            "forked_from": each.forked_from,
            "shared": each.shared,
        }
        for each in found
    ]
    return JsonResponse({"object": "list", "data": data})


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a conversation."""
    return JsonResponse(_conversation(await s.conversations.get(x.caller, request.path_params["conversation_id"])))


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Replaces a conversation's metadata, and changes its title and whether it is pinned or archived."""
    body = await read_json(request, ConversationUpdate, s.limits)
    if body.headrace is None and "metadata" not in body.model_fields_set:
        raise invalid("Field required", "metadata")
    metadata = (body.metadata or {}) if "metadata" in body.model_fields_set else None
    state = body.headrace.model_dump() if body.headrace is not None else {}
    id = request.path_params["conversation_id"]
    return JsonResponse(_conversation(await s.conversations.update(x.caller, id, metadata=metadata, **state)))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a conversation with all its items; the receipt of the deletion has the conversation's id."""
    id = request.path_params["conversation_id"]
    items = await s.conversations.delete(x.caller, id)
    await x.record(id, {"deleted": 1, "items": items})
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
    """Lists a conversation's items; with `include=headrace` also their times and what stood beside each answer."""
    id = request.path_params["conversation_id"]
    render = _detailed if _includes_details(request) else _item
    return page_response(await s.conversations.list_items(x.caller, id, **page_query(request)), render)


async def get_item(s: Services, request: Request, x: Exchange) -> Response:
    """Returns an item of a conversation, with `include` as in the list."""
    path = request.path_params
    found = await s.conversations.get_item(x.caller, path["conversation_id"], path["item_id"])
    return JsonResponse(_detailed(found) if _includes_details(request) else _item(found))


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
        "headrace": {
            "title": conversation.title,
            "pinned": conversation.pinned,
            "archived": conversation.archived,
            "last_active_at": int(conversation.last_active_at),
            "items": conversation.item_count,
            "model": conversation.model,
            "forked_from": conversation.forked_from,
        },
    }


def _item(item: Item) -> dict[str, Any]:
    return {"id": item.id, **item.body}


def _includes_details(request: Request) -> bool:
    return "headrace" in list_query(request, "include", count=16, most=64)


def _detailed(item: Item) -> dict[str, Any]:
    # Its sources are for readers of a share.
    told = {name: value for name, value in (item.details or {}).items() if name != DETAIL}
    return {**_item(item), "created_at": int(item.created_at), "headrace": {**told, "number": item.seq}}
