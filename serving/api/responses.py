"""`/v1/responses`: one request, its answer, and what was said before it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api import chat
from serving.api.approving import Approving, taint
from serving.api.charging import charged
from serving.api.errors import invalid
from serving.api.exchange import Exchange
from serving.api.generation import Job, fixed_answer
from serving.api.guarded_history import GuardedHistory
from serving.api.guarding import guarded
from serving.api.http import JsonResponse, read_json
from serving.api.paging import one_of, page_query, page_response
from serving.api.reasoning import Acting, choose, tools_of
from serving.api.recorder import recorder
from serving.api.reply import Reply
from serving.api.response_input import answers_to_earlier_calls, chat_request, check, check_answers, own_items
from serving.api.response_relay import ResponseRelay
from serving.api.response_schemas import ResponseRequest
from serving.api.schemas import ChatRequest
from serving.api.services import Services
from serving.api.turn import Recollection, gone
from serving.assistants.history import ChainHistory, ConversationHistory, History
from serving.assistants.resolver import Route
from serving.assistants.tools.catalogue import CatalogTools
from serving.config import React, Reasoning
from serving.engines.endpoint import Endpoint
from serving.retrieval.types import Hit
from serving.store.errors import NotFound
from serving.store.responses import StoredResponse
from serving.telemetry import metrics

_FIELDS = {"messages": "input", "response_format": "text.format"}
"""Fields of a response's request that are called something else in a chat's."""


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Answers an input, streamed or whole, and keeps both."""
    body = await read_json(request, ResponseRequest, s.limits)
    x.timeline.end_of("receive")
    route = chat.resolve(s, x, body.model)
    async with x.cancelled_by_hang_up(), charged(s.keeper, x, stream=body.stream):
        with x.timeline.during("guard"):
            body = await guarded(s, x, route, body)
        asked = await _read(s, x, body)
        await asked.approving.record(s.audit, x.request_id)
        reply = Reply(body, asked.own, asked.previous, asked.route.assistant)
        async with s.admission.admit():
            x.timeline.end_of("admit")
            searches = chat.searches_by_itself(asked.route, asked.strategy)
            hits = None if searches and isinstance(asked.strategy, React) else await _retrieve(s, x, asked)
            found = list(hits or ())
            shown = found if searches else hits
            job = _job(s, x, asked, reply.id, hits, shown)
            job = replace(job, finished=recorder(s, x, asked.route, body, shown, reply))
            if asked.strategy is not None:
                tainted = taint(asked.route, tools_of(asked.route), asked.chat, hits, asked.recollection)
                acting = Acting(asked.catalogue, asked.approving, tainted)
                job = chat.by_strategy(s, x, job, asked.strategy, found, acting)
            if job.stream:
                relay = ResponseRelay(reply)
                x.error_frame = relay.failed
                job = replace(job, relay=relay)
            x.timeline.end_of("prompt")
            if hits is not None and not hits:
                metrics.retrieval_empty.inc()
                answer = await fixed_answer(
                    x, job, chat.refusal(asked.route), await chat.refusal_fields(asked.recollection)
                )
            else:
                answer = await s.generator.run(x, job)
    return JsonResponse(reply.shown()) if answer is not None else None


async def count_input(s: Services, request: Request, x: Exchange) -> Response:
    """Counts the tokens that a model would read, with what it is shown of earlier turns and documents.

    Guardrails read all of it as for an answer: what they take out is not counted, and what they block is a 400.
    """
    body = await read_json(request, ResponseRequest, s.limits)
    x.timeline.end_of("receive")
    route = chat.resolve(s, x, body.model)
    async with x.cancelled_by_hang_up(), charged(s.keeper, x):
        with x.timeline.during("guard"):
            body = await guarded(s, x, route, body, answers=False)
        asked = await _read(s, x, body)
        if asked.strategy is not None:
            kind = asked.strategy.kind
            raise invalid(f"What {kind} will read is known afterwards only; direct answers are counted.", "strategy")
        async with s.admission.admit():
            x.timeline.end_of("admit")
            hits = await _retrieve(s, x, asked)
            unanswerable = hits is not None and not hits
            count = 0 if unanswerable else await s.generator.count(x, _job(s, x, asked, "", hits, hits))
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
    strategy: Reasoning | None
    previous: StoredResponse | None
    recollection: Recollection | None
    goes_on: bool  # with what a tool returned
    catalogue: CatalogTools
    approving: Approving


async def _read(s: Services, x: Exchange, body: ResponseRequest) -> _Asked:
    """Returns what is asked; raises a 400, or a 404 for what the caller does not have."""
    own = own_items(body)
    check(body, own, s.limits)
    earlier = answers_to_earlier_calls(own)
    route, catalogue = chat.resolve(s, x, body.model), s.tools  # of one catalogue: another may come while this waits
    screen = GuardedHistory.of(x.guard, s.clean)
    previous, history = await _goes_on_with(s, x, body, screen)
    newest: Sequence[dict[str, Any]] = ()
    if earlier and history is not None:
        async with s.admission.admit():
            newest = await _newest(history)
    check_answers(own, earlier, newest)
    # Kept in the order in which the model is shown them: a result follows its call.
    own = [own[place] for place in earlier] + [item for place, item in enumerate(own) if place not in earlier]
    asked = chat_request(body, own, range(len(earlier)))
    strategy = choose(route, asked, _FIELDS)
    approving = Approving(s.approvals, s.used_approvals, x.caller, route, asked.approvals or ())
    recollection = _recollection(s, x, route, body, asked, history, screen)
    return _Asked(own, asked, route, strategy, previous, recollection, bool(earlier), catalogue, approving)


async def _retrieve(s: Services, x: Exchange, asked: _Asked) -> Sequence[Hit] | None:
    """Returns what was found as `chat.retrieve` does; what a tool returned is no question."""
    if asked.goes_on and not any(m.role == "user" for m in asked.chat.messages):
        return None
    return await chat.retrieve(s, x, asked.route, asked.chat, param="input")


def _job(
    s: Services, x: Exchange, asked: _Asked, id: str, hits: Sequence[Hit] | None, shown: Sequence[Hit] | None
) -> Job:
    annotate = chat.annotator(s, x, shown, asked.recollection)
    job = chat.new_job(id, asked.chat, asked.route, hits, asked.recollection, annotate, None)
    return replace(job, param="input")


async def _goes_on_with(
    s: Services, x: Exchange, body: ResponseRequest, screen: GuardedHistory | None
) -> tuple[StoredResponse | None, History | None]:
    """Returns the response before, and what was said before; raises a 404."""
    try:
        if body.previous_response_id is not None:
            previous = await s.responses.get(x.caller, body.previous_response_id)
            return previous, ChainHistory(s.responses, s.conversations, x.caller, previous.id, screen)
        if (id := body.conversation_id) is not None:
            found = await s.conversations.get(x.caller, id)
            return None, ConversationHistory(s.conversations, x.caller, found.id, screen)
    except NotFound as e:
        raise gone(e) from None
    return None, None


async def _newest(history: History) -> list[dict[str, Any]]:
    """Returns the messages of the newest turn."""
    async with aclosing(history.turns()) as turns:
        turn = await anext(turns, None)
    return turn.messages if turn is not None else []


def _recollection(
    s: Services,
    x: Exchange,
    route: Route,
    body: ResponseRequest,
    asked: ChatRequest,
    history: History | None,
    screen: GuardedHistory | None,
) -> Recollection | None:
    if history is None:
        return None
    param = "conversation" if body.conversation is not None else "previous_response_id"
    kind = _Untruncated if body.truncation == "disabled" else Recollection
    return kind(s, x.caller, route.assistant, history, asked, param, screen)


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
