"""References to items of stored responses, which are replaced by the items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.core.ids import whole_id
from serving.core.principal import Principal
from serving.protocol.conversations import FunctionCallItem, MessageItem
from serving.protocol.errors import invalid, not_found
from serving.protocol.parts import Body
from serving.protocol.responses import FileSearchCallItem, ItemReference, ReasoningItem, ResponseRequest
from serving.store.errors import NotFound
from serving.store.responses import Responses

MAX_RESPONSES = 500
"""Maximum number of responses that one request's references are in: each is read."""

MAX_REFERENCES = 1_000
"""Maximum number of references of one request: each item is validated again."""

_KINDS: Mapping[str, type[Body]] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "reasoning": ReasoningItem,
    "file_search_call": FileSearchCallItem,
}


async def resolved(responses: Responses, caller: Principal, body: ResponseRequest) -> ResponseRequest:
    """Returns the request with references replaced by items; raises `ApiError` for one that the caller does not own."""
    if isinstance(body.input, str) or not any(isinstance(item, ItemReference) for item in body.input):
        return body
    if sum(isinstance(item, ItemReference) for item in body.input) > MAX_REFERENCES:
        raise invalid(f"A request has at most {MAX_REFERENCES} references to items.", "input")
    found: dict[str, dict[str, Any]] = {}
    given: list[Any] = []
    for place, item in enumerate(body.input):
        if not isinstance(item, ItemReference):
            given.append(item)
            continue
        id = whole_id("resp", item.id)
        if id not in found:
            if len(found) == MAX_RESPONSES:
                raise invalid(
                    f"A request may refer to items of {MAX_RESPONSES} responses at most.", f"input[{place}].id"
                )
            try:
                found[id] = {each["id"]: each for each in (await responses.get(caller, id)).body["output"]}
            except NotFound:
                found[id] = {}
        if (kept := found[id].get(item.id)) is None:
            raise not_found("item", f"input[{place}].id")
        given.append(_KINDS[kept["type"]].model_validate(kept))
    return body.model_copy(update={"input": given})
