"""`/v1/responses`: one request, its answer, and what was said before it."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api import chat
from serving.api.citations import citation_fields
from serving.api.errors import invalid, upstream
from serving.api.exchange import Exchange
from serving.api.frames import encode
from serving.api.generation import Job
from serving.api.http import JsonResponse, read_json
from serving.api.paging import one_of, page_query, page_response
from serving.api.reply import Reply, identified, output_items
from serving.api.response_input import answers_to_earlier_calls, chat_request, check, check_answers, own_items
from serving.api.response_relay import ResponseRelay
from serving.api.response_schemas import ResponseRequest
from serving.api.schemas import ChatRequest
from serving.api.services import Services
from serving.api.turn import Recollection, gone
from serving.assistants.history import ChainHistory, ConversationHistory, History
from serving.assistants.resolver import Route
from serving.config import TokenWindowMemory
from serving.engines.endpoint import Endpoint
from serving.store.errors import NotFound
from serving.telemetry import metrics


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Answers an input, streamed or whole, and keeps both."""
    body = await read_json(request, ResponseRequest, s.limits)
    asked = await _read(s, x, body)
    reply = Reply(body)

    async def keep(*_: object) -> None:
        if body.store:
            await _keep(s, x, reply.document(), asked.own)
            x.timeline.end_of("store")

    async with x.cancelled_by_hang_up(), s.admission.admit():
        x.timeline.end_of("admit")
        job, fixed = await _job(s, x, asked)
        if job.stream:
            relay = ResponseRelay(reply)
            x.error_frame = relay.failed
            job = replace(job, relay=relay, keep=keep)
        if fixed is None:
            answer = await s.generator.run(x, job)
        else:
            metrics.retrieval_empty.inc()
            answer = await _fixed(x, job, fixed)
        if answer is None:
            return None
        _finish(reply, answer)
        await keep()
    return JsonResponse(reply.shown())


async def count_input(s: Services, request: Request, x: Exchange) -> Response:
    """Counts the tokens that a model would read, with what it is shown of earlier turns and documents."""
    body = await read_json(request, ResponseRequest, s.limits)
    asked = await _read(s, x, body)
    async with x.cancelled_by_hang_up(), s.admission.admit():
        x.timeline.end_of("admit")
        job, fixed = await _job(s, x, asked)
        count = await s.generator.count(x, job) if fixed is None else 0
    return JsonResponse({"object": "response.input_tokens", "input_tokens": count})


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a kept response."""
    if one_of(request.query_params.get("stream"), "stream", ("true", "false")) == "true":
        raise invalid("Only responses in the background can be streamed again, and there are none.", "stream")
    return JsonResponse((await s.responses.get(x.caller, request.path_params["response_id"])).body)


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a response; those that followed it stay."""
    id = request.path_params["response_id"]
    await s.responses.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "response", "deleted": True})


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Refuses: only responses in the background can be cancelled, and there are none."""
    await s.responses.get(x.caller, request.path_params["response_id"])
    raise invalid("Cannot cancel a synchronous response.")


async def list_input(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a response's own input."""
    id = request.path_params["response_id"]
    return page_response(await s.responses.list_input(x.caller, id, **page_query(request)), dict)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was checked: its own items, the chat that answers it, and what it goes on with."""

    own: list[dict[str, Any]]
    chat: ChatRequest
    route: Route
    recollection: Recollection | None
    goes_on: bool  # with what a tool returned


async def _read(s: Services, x: Exchange, body: ResponseRequest) -> _Asked:
    """Returns what is asked; raises a 400, or a 404 for what the caller does not have."""
    own = own_items(body)
    check(body, own, s.limits)
    earlier = answers_to_earlier_calls(own)
    route = chat.resolve(s, x, body.model)
    history = await _history(s, x, body)
    check_answers(own, earlier, await _newest(history) if earlier and history is not None else ())
    asked = chat_request(body, own, earlier)
    x.timeline.end_of("receive")
    return _Asked(own, asked, route, _recollection(s, route, body, history), bool(earlier))


async def _job(s: Services, x: Exchange, asked: _Asked) -> tuple[Job, dict[str, Any] | None]:
    """Returns the generation, and the fixed answer's message when retrieval found nothing to answer from."""
    recollection = asked.recollection
    hits = None
    if not asked.goes_on or any(m.role == "user" for m in asked.chat.messages):
        hits = await chat.retrieve(s, x, asked.route, asked.chat, param="input")
    job = replace(
        chat.new_job(asked.chat, asked.route, hits, None, chat.annotator(s, x, hits or (), recollection)),
        recall=recollection.recall if recollection is not None else None,
        param="input",
    )
    x.timeline.end_of("prompt")
    if hits is None or hits:
        return job, None
    fields = citation_fields((), (), 0)
    if recollection is not None:
        await recollection.count()
        fields["headrace"]["memory"] = recollection.report
    return job, {"role": "assistant", "content": chat.refusal(asked.route), **fields}


async def _history(s: Services, x: Exchange, body: ResponseRequest) -> History | None:
    """Returns what the request goes on with; raises a 404."""
    given = body.conversation
    try:
        if body.previous_response_id is not None:
            previous = await s.responses.get(x.caller, body.previous_response_id)
            return ChainHistory(s.responses, s.conversations, x.caller, previous.id)
        if given is not None:
            id = given if isinstance(given, str) else given.id
            return ConversationHistory(s.conversations, x.caller, (await s.conversations.get(x.caller, id)).id)
    except NotFound as e:
        raise _gone(e) from None
    return None


async def _newest(history: History) -> list[dict[str, Any]]:
    """Returns the messages of the newest turn."""
    async with aclosing(history.turns()) as turns:
        turn = await anext(turns, None)
    return turn.messages if turn is not None else []


def _recollection(s: Services, route: Route, body: ResponseRequest, history: History | None) -> Recollection | None:
    if history is None:
        return None
    remembers = route.assistant.memory if route.assistant is not None else TokenWindowMemory()
    param = "conversation" if body.conversation is not None else "previous_response_id"
    kind = _Untruncated if body.truncation == "disabled" else Recollection
    return kind(history, s.upstream, remembers, param)


class _Untruncated(Recollection):
    """Shows the model everything or nothing."""

    async def recall(self, endpoint: Endpoint, document: dict[str, Any]) -> None:
        await super().recall(endpoint, document)
        if left_out := self.report["left_out"]:
            raise invalid(
                f"{left_out} earlier turns do not fit into the model's memory, and truncation is disabled.",
                "truncation",
                "context_length_exceeded",
            )


async def _keep(s: Services, x: Exchange, document: dict[str, Any], own: list[dict[str, Any]]) -> None:
    conversation = document["conversation"]
    try:
        await s.responses.create(
            x.caller,
            document,
            own,
            previous_id=document["previous_response_id"],
            conversation_id=conversation["id"] if conversation is not None else None,
        )
    except NotFound as e:
        raise _gone(e) from None


def _gone(error: NotFound) -> Exception:
    return gone() if error.kind == "conversation" else gone("response", "previous_response_id")


def _finish(reply: Reply, answer: dict[str, Any]) -> None:
    """Makes an engine's whole answer the reply's; raises a 502 for one that is no chat's."""
    choice = next(iter(answer["choices"]), None)
    if not isinstance(choice, dict):
        raise upstream("The model's answer has no choices.")
    message = choice.get("message") or {}
    reason = choice.get("finish_reason")
    reply.headrace = message.get("headrace")
    reply.finish([identified(item) for item in output_items(message, reason)], reason, answer.get("usage") or {})


async def _fixed(x: Exchange, job: Job, message: dict[str, Any]) -> dict[str, Any] | None:
    """Answers with `message` without asking a model: a chat's whole answer, or None after it was streamed."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    if job.relay is None or job.keep is None:
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    await x.start_stream()
    await x.write(job.relay.head())
    said = {"index": 0, "delta": {"content": message["content"]}, "finish_reason": "stop"}
    frames = encode({"choices": [said]}) + encode({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"
    await x.write(job.relay.feed(frames))
    job.relay.annotate({0: message})
    rest = job.relay.tail()
    await job.keep(message, "stop")
    await x.write(rest, last=True)
    return None
