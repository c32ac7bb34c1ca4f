"""`/v1/responses`: a request with its answer, which can continue earlier ones."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.api.background.following import follow
from serving.api.http import JsonResponse, read_json
from serving.api.paging import number, one_of, page_query, page_response
from serving.api.services import Services
from serving.inference.charging import held_as_stream
from serving.inference.exchange import Exchange
from serving.inference.responses.references import resolved
from serving.metering.charge import queueing_meter, storage_meter
from serving.protocol.errors import invalid
from serving.protocol.responses import ResponseRequest
from serving.security.absent_callers import note
from serving.store.jobs.queue import size_of
from serving.store.responses import NewResponse


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Answers an input, streamed or not, and stores both."""
    body = await _read(s, request, x)
    x.timeline.end_of("receive")
    if body.background:
        return await _queue(s, x, body)
    answer = await s.pipeline.response(x, body)
    return JsonResponse(answer) if answer is not None else None


async def _read(s: Services, request: Request, x: Exchange) -> ResponseRequest:
    body = await read_json(request, ResponseRequest, s.limits, drop_unsupported=s.config.drop_unsupported_params)
    return await resolved(s.responses, x.caller, body)


async def _queue(s: Services, x: Exchange, body: ResponseRequest) -> Response | None:
    """Stores a response that will be answered in the background; streams its events if requested."""
    if not body.stream:
        return JsonResponse((await _queued(s, x, body)).body)
    # Checked first, so that nothing is queued for a caller who may not follow it.
    async with held_as_stream(s.keeper, x):
        await follow(s, x, (await _queued(s, x, body)).body["id"], None)
    return None


async def _queued(s: Services, x: Exchange, body: ResponseRequest) -> NewResponse:
    new, route = await s.pipeline.queue_response(x, body)
    if x.prompt is not None:
        body = x.prompt.pinned(body)
    request = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    payload = {"request": request, "caller": note(x.caller), "request_id": x.request_id}
    then = None
    if x.hold is not None:
        answer = None if body.stream else x.hold.answer(orjson.dumps(new.body), stream=False)
        then = x.hold.keeping(answer, new.body["id"], {"response_id": new.body["id"]}, None)
    prompt = [{"role": "user", "content": orjson.dumps(request).decode()}]
    document = {"messages": prompt, "max_tokens": body.max_output_tokens}
    context = s.engines.context(route.served)
    tokens, budgets = queueing_meter(s.keeper, x.caller, route.requested, document, context)
    stored = storage_meter(s.keeper, x.caller, stored_bytes=size_of(payload))
    await s.background.begin(x.caller, new, payload, then, tokens=tokens, meters=(stored, budgets))
    if x.hold is not None:
        x.hold.kept = True
    x.timeline.end_of("store")
    return new


async def count_input(s: Services, request: Request, x: Exchange) -> Response:
    """Counts the tokens that a model would read, including earlier turns and documents."""
    body = await _read(s, request, x)
    x.timeline.end_of("receive")
    count = await s.pipeline.count(x, body)
    return JsonResponse({"object": "response.input_tokens", "input_tokens": count})


async def get(s: Services, request: Request, x: Exchange) -> Response | None:
    """Returns a stored response, or with `stream` the events of a background response."""
    id, query = request.path_params["response_id"], request.query_params
    streamed = one_of(query.get("stream"), "stream", ("true", "false")) == "true"
    after = number(query.get("starting_after"), "starting_after")
    response = await s.responses.get(x.caller, id)
    if not streamed:
        return JsonResponse(response.body)
    if not response.body.get("background"):
        raise invalid("Only background responses can be streamed again.", "stream")
    async with held_as_stream(s.keeper, x):
        await follow(s, x, id, after)
    return None


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a response; those that follow it stay."""
    id = request.path_params["response_id"]
    await s.responses.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "response", "deleted": True})


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Cancels a background response that is not answered yet; an ended one stays unchanged."""
    id = request.path_params["response_id"]
    if not (await s.responses.get(x.caller, id)).body.get("background"):
        raise invalid("Cannot cancel a synchronous response.")
    body = (await s.background.cancel(x.caller, id)).body
    if "data:read" not in x.caller.scopes:  # an answer that it already has requires that scope
        body = {name: body[name] for name in ("id", "object", "status", "background")}
    return JsonResponse(body)


async def list_input(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a response's own input."""
    id = request.path_params["response_id"]
    return page_response(await s.responses.list_input(x.caller, id, **page_query(request)), dict)
