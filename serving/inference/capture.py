"""Stores an answer (capture, and turn of a conversation or response) before the caller gets its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson
from sqlalchemy.engine import Connection

from serving.assistants.memory.jobs import MemoryJobs
from serving.assistants.prompt_version import version
from serving.config import ServingConfig
from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.engines.router import Route
from serving.inference.conversation_context import BROKEN_OFF, ChatTurn, predecessor_not_found
from serving.inference.exchange import Exchange
from serving.inference.outcome import AnswerKeeper, Outcome
from serving.inference.responses.object import ResponseObject
from serving.protocol.chat import ChatRequest, CompletionRequest
from serving.protocol.errors import invalid
from serving.protocol.responses import ResponseRequest
from serving.retrieval.types import Hit
from serving.store import values
from serving.store.background.webhooks import announce
from serving.store.captures import Capture, Captures
from serving.store.conversations import Item, Then
from serving.store.errors import NotFound
from serving.store.responses import NewResponse
from serving.store.sharing.sources import DETAIL

Body = ChatRequest | CompletionRequest | ResponseRequest
Place = ChatTurn | ResponseObject
Render = Callable[[dict[str, Any]], dict[str, Any]]
SourcesOf = Callable[[Route], dict[str, Any] | None]
"""Returns what an answer by a route was made from, once it is there."""


class AnswerRecorder:
    """Stores answers, each in one transaction with all that belongs to it."""

    def __init__(self, captures: Captures, memory: MemoryJobs, config: ServingConfig) -> None:
        self._captures = captures
        self._memory = memory
        self._capture = config.capture
        self._store_false = config.store_false

    def check_storable(self, route: Route, body: ChatRequest) -> None:
        """Raises `ApiError` for metadata out of bounds, and for a request to store an answer that must not
        be stored.
        """
        values.metadata("metadata", body.metadata)
        if body.store is False and body.conversation is not None:
            raise invalid("A conversation stores its messages: store must not be false.", "store")
        if body.store and not self.captures(route):
            raise invalid("Answers of this model are not stored: it captures nothing.", "store", "not_stored")

    def captures(self, route: Route) -> bool:
        """Returns whether requests and answers of this route are captured."""
        chosen = route.assistant.capture if route.assistant is not None else None
        return (chosen or self._capture) == "all"

    def keeper(
        self,
        x: Exchange,
        route: Route,
        body: Body,
        hits: Sequence[Hit] | None = None,
        place: Place | None = None,
        sources: SourcesOf | None = None,
        render: Render | None = None,
    ) -> AnswerKeeper | None:
        """Returns the keeper of a request's answer, or None if nothing is stored.

        An interrupted answer is captured as far as it went. Its part that was streamed is stored as an incomplete turn,
        but not as a response. Without `sources`, nobody knows what an answer was made from. `render` converts a whole
        answer to what the caller gets.
        """
        refused = not isinstance(body, CompletionRequest) and body.store is False
        captured = self.captures(route) and not (refused and self._store_false == "none")
        if not captured and place is None and x.hold is None:
            return None
        return _Keeper(
            self._captures,
            self._memory,
            x,
            route,
            body,
            hits,
            place,
            sources,
            render,
            captured=captured,
            refused=refused,
        )


class _Keeper:
    """Stores the answer of one request."""

    def __init__(
        self,
        captures: Captures,
        memory: MemoryJobs,
        x: Exchange,
        route: Route,
        body: Body,
        hits: Sequence[Hit] | None,
        place: Place | None,
        sources: SourcesOf | None,
        render: Render | None,
        *,
        captured: bool,
        refused: bool,
    ) -> None:
        self._captures = captures
        self._memory = memory
        self._x = x
        self._route = route
        self._body = body
        self._hits = hits
        self._place = place
        self._sources = sources
        self._render = render
        self._captured = captured
        self._refused = refused

    async def keep(self, outcome: Outcome) -> None:
        """Stores the capture, the turn or response, the idempotent answer and the charge; raises `ApiError`."""
        x, place = self._x, self._place
        choice = self._turn_choice(outcome) if isinstance(place, ChatTurn) else None
        response = place.stored(outcome) if isinstance(place, ResponseObject) and outcome.is_complete else None
        route = outcome.route or self._route
        capture = _capture(x, route, self._body, self._hits, place, outcome) if self._captured else None
        if capture is not None and self._refused:
            capture = without_content(capture)
        made_from = self._sources(route) if place is not None and self._sources is not None else None
        details = _details(route, capture, outcome) | {DETAIL: made_from} if place is not None else {}
        turn = place.items(choice, details) if isinstance(place, ChatTurn) and choice is not None else None
        id = place.conversation if place is not None and outcome.is_complete else None
        then = self._memory.after(x.caller, self._route.assistant, id) if id is not None else None
        hold = x.hold if outcome.is_complete else None
        if hold is not None:
            told_of = {
                "conversation_id": id,
                "capture_id": capture.id if capture is not None else None,
                "response_id": outcome.id if response is not None else None,
            }
            keeps = hold.for_later or not self._refused
            answer = hold.answer(self._last(outcome), stream=self._body.stream) if keeps else None
            then = hold.keeping(answer, outcome.id, told_of, then)
        if response is not None and response.body["background"]:
            then = _announcing(x.caller, response, then)
        if x.charge is not None:
            then = x.charge.counting(then)
        checked = x.guard.version if x.guard is not None and x.guard.whole else None
        if not outcome.is_complete:
            checked = None  # an output check may have read less than all of it
        if response is not None:
            response = replace(response, checked=checked, details=details)

        @uninterrupted
        async def record() -> None:
            await self._captures.record(
                x.caller,
                capture,
                turn=turn,
                response=response,
                checked=checked,
                model=self._route.requested,
                then=then,
                again=x.background,
            )
            if hold is not None:
                hold.kept = True
            if x.charge is not None:
                x.charge.counted = True

        try:
            # A caller that disconnects can cancel this at any await. Stored data must be known to be stored, or it
            # would be counted again at the end.
            await record()
        except NotFound as e:
            raise predecessor_not_found(e) from None

    def _turn_choice(self, outcome: Outcome) -> dict[str, Any] | None:
        """Returns the choice to store as a turn: of an interrupted answer, the text that the caller may have seen."""
        choice = outcome.choices[0] if outcome.choices else None
        if outcome.is_complete or choice is None:
            return choice
        text = choice["message"].get("content")
        if not text or not self._body.stream:
            return None
        return {"message": {"content": text}, "finish_reason": BROKEN_OFF}

    def _last(self, outcome: Outcome) -> bytes:
        """Returns the last part for the caller. A response that is not streamed differs from the engine's answer, and
        so does a message.
        """
        if isinstance(self._place, ResponseObject) and not self._body.stream:
            return orjson.dumps(self._place.document())
        if self._render is not None and not self._body.stream:
            return orjson.dumps(self._render(orjson.loads(outcome.last())))
        return outcome.last()


def _announcing(caller: Principal, response: NewResponse, then: Then | None) -> Then:
    """Returns `then`, with the webhook events of a response that was answered in the background."""

    def both(connection: Connection, added: Sequence[Item]) -> None:
        if then is not None:
            then(connection, added)
        announce(connection, caller.tenant, caller.user, f"response.{response.body['status']}", response.body["id"])

    return both


def _details(route: Route, capture: Capture | None, outcome: Outcome) -> dict[str, Any]:
    """Returns what is stored beside an answer in a conversation, as its caller was told."""
    message = outcome.choices[0].get("message") if outcome.choices else None
    told = message.get("headrace") or {} if isinstance(message, dict) else {}
    return {
        **{name: value for name, value in told.items() if name not in ("conversation", "items", DETAIL)},
        "completion_id": capture.id if capture is not None else None,
        "consent": capture is not None and capture.consent,
        "model": route.requested,
        "usage": outcome.usage or None,
    }


def without_content(capture: Capture) -> Capture:
    """Returns the part of a capture that is stored for `store: false`: caller, time, model and cost."""
    return replace(
        capture, request={}, prompt={}, chunks=[], answer=[], steps=[], metadata={}, stored=False, consent=False
    )


def _capture(
    x: Exchange,
    route: Route,
    body: Body,
    hits: Sequence[Hit] | None,
    place: Place | None,
    outcome: Outcome,
) -> Capture:
    agreed = not isinstance(body, CompletionRequest) and body.store is True
    return Capture(
        id=outcome.id,
        tenant=x.caller.tenant,
        user=x.caller.user,
        request_id=x.request_id,
        conversation_id=place.conversation if place is not None else None,
        item_id=None,
        session_id=place.session if isinstance(place, ResponseObject) else None,
        requested=route.requested,
        assistant=route.assistant.name if route.assistant is not None else None,
        alias=route.alias,
        model=route.adapts or route.model,
        adapter=route.model if route.adapts else None,
        prompt_version=version(route.assistant) if route.assistant is not None else None,
        request=body.model_dump(exclude_unset=True, by_alias=True),
        prompt=outcome.prompt,
        chunks=[asdict(hit) for hit in hits or ()],
        answer=outcome.choices,
        steps=list(outcome.steps),
        prompt_tokens=_tokens(outcome.usage, "prompt_tokens"),
        completion_tokens=_tokens(outcome.usage, "completion_tokens"),
        timings=dict(x.timeline.stages),
        cost=float(outcome.cost.amount) if outcome.cost is not None else None,
        currency=outcome.cost.currency if outcome.cost is not None else None,
        outcome=outcome.ending,
        error_code=outcome.code,
        stored=agreed and isinstance(body, ChatRequest),
        consent=agreed,
        metadata=(body.metadata or {}) if not isinstance(body, CompletionRequest) else {},
        created_at=now(),
        prompts=_prompts(x, route),
    )


def _prompts(x: Exchange, route: Route) -> list[dict[str, Any]] | None:
    """Returns which stored prompts were used, by the assistant and by the request."""
    used = [route.prompt.note("assistant")] if route.prompt is not None else []
    if x.prompt is not None:
        used.append(x.prompt.version.note("request"))
    return used or None


def _tokens(usage: dict[str, Any], field: str) -> int | None:
    value = usage.get(field)
    return value if isinstance(value, int) and 0 <= value <= values.MAX_NUMBER else None
