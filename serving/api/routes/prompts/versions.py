"""`/v1/prompts/{id}/versions`: the versions of a prompt, which never change."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.prompts.requests import PromptVersionRequest
from serving.protocol.prompts.template import parse
from serving.store.access import require_owner
from serving.store.prompts.records import PromptVersion


async def add(s: Services, request: Request, x: Exchange) -> Response:
    """Adds a version; labels stay where they are."""
    id = request.path_params["prompt_id"]
    body = await read_json(request, PromptVersionRequest, s.limits)
    require_owner(x.caller, (await s.assistants.prompts.get(x.caller, id)).user)
    rails = s.catalog.current.rails
    trusted = s.input_check.require_instructing(x, rails, "text")
    await s.input_check.check_instructions(x, rails, body.text, "text")
    variables = parse(body.text).variables

    async def record() -> PromptVersion:
        added = await s.assistants.prompts.add_version(x.caller, id, body.text, variables, trusted=trusted)
        await x.record(id, {"version": added.version})
        return added

    return JsonResponse(_version(await s.database.atomically(record)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a prompt's versions, the newest first, without their texts, which can be long."""
    id = request.path_params["prompt_id"]
    return page_response(await s.assistants.prompts.list_versions(x.caller, id, **page_query(request)), _listed)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the version with a number or a label."""
    id = request.path_params["prompt_id"]
    return JsonResponse(_version(await s.assistants.prompts.version(x.caller, id, request.path_params["version"])))


def _version(found: PromptVersion) -> dict[str, Any]:
    return {**_listed(found), "text": found.text}


def _listed(found: PromptVersion) -> dict[str, Any]:
    return {
        "id": found.id,
        "object": "prompt.version",
        "created_at": int(found.created_at),
        "prompt_id": found.prompt_id,
        "version": found.version,
        "variables": found.variables,
        "sha256": found.sha256,
        "headrace": {"author": found.user, "by_operator": found.by_operator, "trusted": found.trusted},
    }
