"""`/v1/assistants`: assistants that a tenant creates; each can be used as a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.assistants.register import AssistantVersion, OwnAssistant, instructions, settings_of
from serving.inference.exchange import Exchange
from serving.protocol.assistants import AssistantRequest, AssistantSettings, AssistantUpdate, AssistantVersionRequest
from serving.protocol.errors import conflict, invalid, no_model, not_found, wrong_task
from serving.protocol.prompts.requests import PromptReference
from serving.store.access import access_document


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates an assistant with its first version."""
    body = await read_json(request, AssistantRequest, s.limits)
    if body.name in s.retrieval.local or s.catalog.current.router.resolve(body.name, x.caller) is not None:
        raise conflict("A model, alias or assistant of the stack has this name.")
    if body.name.startswith("asst_"):
        raise invalid("A name must not begin with asst_, as ids of assistants do.", "name")
    await _check(s, x, body)
    access = body.access.stored if body.access is not None else None

    async def make() -> OwnAssistant:
        made = await s.assistants.create(x.caller, body.name, body, access)
        await x.record(made.id)
        return made

    made = await s.database.atomically(make)
    return JsonResponse(_assistant(made, await _readable(s, x, [made])))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's assistants that the caller may call."""
    page = await s.assistants.list(x.caller, **page_query(request))
    known = await _readable(s, x, page.items)
    return page_response(page, lambda found: _assistant(found, known))


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns an assistant, with the settings of its active version."""
    found = await s.assistants.get(x.caller, request.path_params["assistant_id"])
    return JsonResponse(_assistant(found, await _readable(s, x, [found])))


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Activates another version, possibly an earlier one, or changes the access list."""
    body = await read_json(request, AssistantUpdate, s.limits)
    id = request.path_params["assistant_id"]
    found = await s.assistants.update(x.caller, id, version=body.version, access=body.list_given)
    return JsonResponse(_assistant(found, await _readable(s, x, [found])))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes an assistant with its versions."""
    id = request.path_params["assistant_id"]
    await s.assistants.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "assistant.deleted", "deleted": True})


async def add_version(s: Services, request: Request, x: Exchange) -> Response:
    """Adds a version, which becomes the active one by default."""
    body = await read_json(request, AssistantVersionRequest, s.limits)
    id = request.path_params["assistant_id"]
    await s.assistants.get(x.caller, id)
    await _check(s, x, body)

    async def add() -> AssistantVersion:
        added = await s.assistants.add_version(x.caller, id, body, activate=body.activate)
        await x.record(id)
        return added

    added = await s.database.atomically(add)
    return JsonResponse(_version(added, await _readable(s, x, [added])))


async def list_versions(s: Services, request: Request, x: Exchange) -> Response:
    """Lists an assistant's versions, the newest first."""
    id = request.path_params["assistant_id"]
    page = await s.assistants.list_versions(x.caller, id, **page_query(request))
    known = await _readable(s, x, page.items)
    return page_response(page, lambda found: _version(found, known))


async def _check(s: Services, x: Exchange, settings: AssistantSettings) -> None:
    """Raises `ApiError` for a model or vector stores that the caller cannot use, and for its instructions."""
    view = s.catalog.current
    route = view.router.resolve(settings.model, x.caller)
    if route is None and settings.model in s.retrieval.local:
        raise wrong_task(settings.model, "embed", "answer chats")
    if route is None:
        raise no_model(settings.model)
    if route.task != "chat":
        raise wrong_task(settings.model, route.task, "answer chats")
    if route.assistant is not None:
        raise invalid("An assistant needs a model or an alias.", "model")
    known = await s.vector_stores.readable_ids(x.caller, settings.vector_store_ids)
    if any(id not in known for id in settings.vector_store_ids):
        raise not_found("vector store", "vector_store_ids")
    await s.input_check.check_instructions(x, view.rails, settings.instructions)
    if settings.prompt is not None:
        await _check_prompt(s, x, settings, settings.prompt)


async def _check_prompt(s: Services, x: Exchange, settings: AssistantSettings, named: PromptReference) -> None:
    """Raises `ApiError` for a prompt beside instructions, and for one that the caller could not give as instructions.

    Whoever may move its label then determines the instructions; they are checked again with each request.
    """
    if settings.instructions:
        raise invalid("instructions and prompt cannot be combined.", "instructions")
    version = await s.assistants.prompts.version(x.caller, named.id, named.version, at="prompt.")
    text = instructions(version, named) or version.text  # another version may say more than nothing
    trusted, rails = version.trusted_for(x.caller), s.catalog.current.rails
    await s.input_check.check_instructions(x, rails, text, "prompt", trusted=trusted)


async def _readable(s: Services, x: Exchange, found: Sequence[OwnAssistant | AssistantVersion]) -> set[str]:
    """Returns the ids of the assistants' vector stores that the caller may read; others are not revealed."""
    ids = {id for one in found for id in one.settings.get("vector_store_ids", ())}
    return await s.vector_stores.readable_ids(x.caller, sorted(ids)) if ids else set()


def _settings(stored: dict[str, Any], known: set[str]) -> dict[str, Any]:
    settings = settings_of(stored).model_dump(mode="json")
    return {**settings, "vector_store_ids": [id for id in settings["vector_store_ids"] if id in known]}


def _assistant(found: OwnAssistant, known: set[str]) -> dict[str, Any]:
    return {
        "id": found.id,
        "object": "assistant",
        "created_at": int(found.created_at),
        "name": found.name,
        "version": found.version,
        **_settings(found.settings, known),
        "headrace": {"owner": found.user, "access": access_document(found.access)},
    }


def _version(found: AssistantVersion, known: set[str]) -> dict[str, Any]:
    return {
        "id": found.id,
        "object": "assistant.version",
        "created_at": int(found.created_at),
        "assistant_id": found.assistant_id,
        "version": found.version,
        **_settings(found.settings, known),
    }
