"""Keeps an answer: its capture, and its turn of a conversation or its response, before the caller learns of its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson

from serving.api.errors import invalid
from serving.api.exchange import Exchange
from serving.api.generation import Finished, Outcome
from serving.api.reply import Reply
from serving.api.response_schemas import ResponseRequest
from serving.api.schemas import ChatRequest, CompletionRequest
from serving.api.services import Services
from serving.api.turn import OpenTurn, gone
from serving.assistants.prompt_version import version
from serving.assistants.resolver import Route
from serving.retrieval.types import Hit
from serving.store import values
from serving.store.captures import Capture
from serving.store.errors import NotFound
from serving.store.ids import now
from serving.store.uninterrupted import finish


def check_storable(s: Services, route: Route, body: ChatRequest) -> None:
    """Raises a 400 for metadata out of bounds, and where an answer is to be stored that may not be."""
    values.metadata("metadata", body.metadata)
    if body.store is False and body.conversation is not None:
        raise invalid("A conversation keeps what is said in it: store must not be false.", "store")
    if body.store and not captures(s, route):
        raise invalid("Answers of this model are not stored: it captures nothing.", "store", "not_stored")


def recorder(
    s: Services,
    x: Exchange,
    route: Route,
    body: ChatRequest | CompletionRequest | ResponseRequest,
    hits: Sequence[Hit] | None = None,
    place: OpenTurn | Reply | None = None,
) -> Finished | None:
    """Returns what keeps the answer of a request, None when nothing of it is kept.

    What broke off is captured as far as it went, and is neither a turn of a conversation nor a response.
    """
    refused = not isinstance(body, CompletionRequest) and body.store is False
    captured = captures(s, route) and not (refused and s.config.store_false == "none")
    if not captured and place is None and x.hold is None:
        return None

    async def finished(outcome: Outcome) -> None:
        turn = place.items(outcome.choices[0]) if isinstance(place, OpenTurn) and outcome.whole else None
        response = place.kept(outcome) if isinstance(place, Reply) and outcome.whole else None
        capture = _capture(x, route, body, hits, place, outcome) if captured else None
        if capture is not None and refused:
            capture = without_content(capture)
        id = place.conversation if place is not None and outcome.whole else None
        then = s.remembering.after(x.caller, route.assistant, id) if id is not None else None
        hold = x.hold if outcome.whole else None
        if hold is not None:
            told_of = {
                "conversation_id": id,
                "capture_id": capture.id if capture is not None else None,
                "response_id": outcome.id if response is not None else None,
            }
            # A response that is not streamed is not what the engine said.
            last = orjson.dumps(place.shown()) if isinstance(place, Reply) and not body.stream else outcome.last()
            answer = None if refused else hold.answer(last, stream=body.stream)
            then = hold.keeping(answer, outcome.id, told_of, then)
        if x.charge is not None:
            then = x.charge.counting(then)
        checked = x.guard.version if x.guard is not None and x.guard.whole else None
        if response is not None:
            response = replace(response, checked=checked)

        async def kept() -> None:
            await s.captures.record(x.caller, capture, turn=turn, response=response, checked=checked, then=then)
            if hold is not None:
                hold.kept = True
            if x.charge is not None:
                x.charge.counted = True

        try:
            # A caller that hangs up can cancel this at any await: what is in the store is known to be there, or it
            # would be counted once more at the end.
            await finish(kept())
        except NotFound as e:
            raise gone(e) from None

    return finished


def without_content(capture: Capture) -> Capture:
    """Returns what may be kept of an answer that is not to be stored: who, when, which model, and what it cost."""
    return replace(
        capture, request={}, prompt={}, chunks=[], answer=[], steps=[], metadata={}, stored=False, consent=False
    )


def captures(s: Services, route: Route) -> bool:
    """Whether what is asked and answered is captured."""
    chosen = route.assistant.capture if route.assistant is not None else None
    return (chosen or s.config.capture) == "all"


def _capture(
    x: Exchange,
    route: Route,
    body: ChatRequest | CompletionRequest | ResponseRequest,
    hits: Sequence[Hit] | None,
    place: OpenTurn | Reply | None,
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
        session_id=place.session if isinstance(place, Reply) else None,
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
    )


def _tokens(usage: dict[str, Any], field: str) -> int | None:
    value = usage.get(field)
    return value if isinstance(value, int) and 0 <= value <= values.MAX_NUMBER else None
