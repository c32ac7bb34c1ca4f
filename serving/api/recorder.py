"""Keeps a completion: its capture and its turn of a conversation, before the caller learns of its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from serving.api.errors import invalid
from serving.api.exchange import Exchange
from serving.api.generation import Finished, Outcome
from serving.api.schemas import ChatRequest, CompletionRequest
from serving.api.services import Services
from serving.api.turn import OpenTurn, gone
from serving.assistants import prompt
from serving.assistants.resolver import Route
from serving.retrieval.types import Hit
from serving.store import values
from serving.store.captures import Capture
from serving.store.errors import NotFound
from serving.store.ids import now


def check_storable(s: Services, route: Route, body: ChatRequest) -> None:
    """Raises a 400 for metadata out of bounds, and where an answer is to be stored that may not be."""
    values.metadata("metadata", body.metadata)
    if body.store and not _captures(s, route):
        raise invalid("Answers of this model are not stored: it captures nothing.", "store", "not_stored")


def recorder(
    s: Services,
    x: Exchange,
    route: Route,
    body: ChatRequest | CompletionRequest,
    hits: Sequence[Hit] | None = None,
    turn: OpenTurn | None = None,
) -> Finished | None:
    """Returns what keeps the completion of a request, None when nothing of it is kept.

    What broke off is captured as far as it went, and is no turn of a conversation.
    """
    captured = _captures(s, route)
    if not captured and turn is None:
        return None

    async def finished(outcome: Outcome) -> None:
        capture = _capture(x, route, body, hits, turn, outcome) if captured else None
        said = turn.items(outcome.choices[0]) if turn is not None and outcome.whole else None
        remember = s.remembering.after(x.caller, route.assistant, said[0]) if said is not None else None
        try:
            await s.captures.record(x.caller, capture, turn=said, then=remember)
        except NotFound:
            raise gone() from None

    return finished


def _captures(s: Services, route: Route) -> bool:
    chosen = route.assistant.capture if route.assistant is not None else None
    return (chosen or s.config.capture) == "all"


def _capture(
    x: Exchange,
    route: Route,
    body: ChatRequest | CompletionRequest,
    hits: Sequence[Hit] | None,
    turn: OpenTurn | None,
    outcome: Outcome,
) -> Capture:
    stored = isinstance(body, ChatRequest) and body.store is True
    return Capture(
        id=outcome.id,
        tenant=x.caller.tenant,
        user=x.caller.user,
        request_id=x.request_id,
        conversation_id=turn.conversation if turn is not None else None,
        item_id=None,
        requested=route.requested,
        assistant=route.assistant.name if route.assistant is not None else None,
        alias=route.alias,
        model=route.adapts or route.model,
        adapter=route.model if route.adapts else None,
        prompt_version=prompt.version(route.assistant) if route.assistant is not None else None,
        request=body.model_dump(exclude_unset=True, by_alias=True),
        prompt=outcome.prompt,
        chunks=[asdict(hit) for hit in hits or ()],
        answer=outcome.choices,
        steps=list(outcome.steps),
        prompt_tokens=_tokens(outcome.usage, "prompt_tokens"),
        completion_tokens=_tokens(outcome.usage, "completion_tokens"),
        timings=dict(x.timeline.stages),
        cost=None,
        outcome=outcome.ending,
        error_code=outcome.code,
        stored=stored,
        consent=stored,
        metadata=(body.metadata or {}) if isinstance(body, ChatRequest) else {},
        created_at=now(),
    )


def _tokens(usage: dict[str, Any], field: str) -> int | None:
    value = usage.get(field)
    return value if isinstance(value, int) and 0 <= value <= values.MAX_NUMBER else None
