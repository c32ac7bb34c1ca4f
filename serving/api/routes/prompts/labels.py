"""`/v1/prompts/{id}/labels`: names that move between the versions of a prompt."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import number
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.prompts.requests import LabelName, LabelRequest
from serving.protocol.validation import validate
from serving.store.access import require_owner
from serving.store.prompts.records import PromptLabel


async def put(s: Services, request: Request, x: Exchange) -> Response:
    """Points a label to a version; with `expected_version` only if nobody has moved it meanwhile.

    The text is checked again: it becomes instructions of others now, and may have been stored under other rules.
    """
    id = request.path_params["prompt_id"]
    body = await read_json(request, LabelRequest, s.limits)
    name = validate(LabelName, {"label": request.path_params["label"]}).label
    prompts = s.assistants.prompts
    require_owner(x.caller, (await prompts.get(x.caller, id)).user)
    version = await prompts.version(x.caller, id, str(body.version), param="version")
    trusted, rails = version.trusted_for(x.caller), s.catalog.current.rails
    await s.input_check.check_instructions(x, rails, version.text, "version", trusted=trusted)

    async def move() -> PromptLabel:
        moved = await prompts.set_label(x.caller, id, name, body.version, expected=body.expected_version)
        await x.record(id, {"label": name, "version": moved.version, "before": moved.before or 0})
        return moved

    set_to = await s.database.atomically(move)
    return JsonResponse(
        {
            "object": "prompt.label",
            "prompt_id": set_to.prompt_id,
            "label": set_to.name,
            "version": set_to.version,
            "updated_at": int(set_to.updated_at),
        }
    )


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a label; versions stay. Requests that name no version then use the newest, if it was `production`."""
    id = request.path_params["prompt_id"]
    name = request.path_params["label"]
    expected = number(request.query_params.get("expected_version"), "expected_version")
    prompts = s.assistants.prompts
    require_owner(x.caller, (await prompts.get(x.caller, id)).user)
    s.input_check.require_instructing(x, s.catalog.current.rails, "label")

    async def remove() -> None:
        before = await prompts.delete_label(x.caller, id, name, expected=expected)
        await x.record(id, {"label": name, "before": before})

    await s.database.atomically(remove)
    return JsonResponse({"prompt_id": id, "label": name, "object": "prompt.label.deleted", "deleted": True})
