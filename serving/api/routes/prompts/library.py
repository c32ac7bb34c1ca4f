"""`/v1/prompts`: prompts that tenants store."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.prompts.requests import PromptRequest, PromptUpdate, RenderRequest
from serving.protocol.prompts.template import parse
from serving.store.prompts.records import StoredPrompt


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a prompt with its first version."""
    body = await read_json(request, PromptRequest, s.limits)
    prompts, rails = s.assistants.prompts, s.catalog.current.rails
    trusted = s.input_check.require_instructing(x, rails, "text")
    await s.input_check.check_instructions(x, rails, body.text, "text")
    variables = parse(body.text).variables

    async def make() -> StoredPrompt:
        made = await prompts.create(x.caller, body.name, body.description, body.text, variables, trusted=trusted)
        await x.record(made.id)
        return made

    return JsonResponse(_prompt(await s.database.atomically(make)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's prompts, each with the first line of the text that a request without a version gets."""
    found = await s.assistants.prompts.list(x.caller, **page_query(request))
    openings = await s.assistants.prompts.openings(x.caller, found.items)

    def listed(prompt: StoredPrompt) -> dict[str, Any]:
        answer = _prompt(prompt)
        answer["headrace"]["first_line"] = _first_line(openings.get(prompt.id, ""))
        return answer

    return page_response(found, listed)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a prompt with its labels, without the texts of its versions."""
    id = request.path_params["prompt_id"]
    return JsonResponse(_prompt(await s.assistants.prompts.get(x.caller, id)))


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Changes the description."""
    id = request.path_params["prompt_id"]
    body = await read_json(request, PromptUpdate, s.limits)
    return JsonResponse(_prompt(await s.assistants.prompts.describe(x.caller, id, body.description)))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a prompt with its versions, unless an assistant names it."""
    id = request.path_params["prompt_id"]
    await s.assistants.prompts.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "prompt.deleted", "deleted": True})


async def render(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the text that a request with these variables would have, without asking a model."""
    id = request.path_params["prompt_id"]
    body = await read_json(request, RenderRequest, s.limits)
    version = await s.assistants.prompts.version(x.caller, id, body.version, param="version")
    text = parse(version.text).render(body.variables or {}, "variables")
    return JsonResponse(
        {
            "object": "prompt.rendered",
            "prompt_id": version.prompt_id,
            "version": version.version,
            "sha256": version.sha256,
            "text": text,
        }
    )


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _prompt(found: StoredPrompt) -> dict[str, Any]:
    return {
        "id": found.id,
        "object": "prompt",
        "created_at": int(found.created_at),
        "updated_at": int(found.updated_at),
        "name": found.name,
        "description": found.description,
        "version": found.version,
        "labels": dict(found.labels),
        "headrace": {"owner": found.user},
    }
