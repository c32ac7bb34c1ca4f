"""Selects the strategy for a request."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter

from serving.assistants import prompt
from serving.assistants.reader import reader
from serving.config import Direct, React, ReactCotSc, Reasoning, Strategy, StrategyKind
from serving.engines.router import Route
from serving.inference.documents.answers import check_fields, require_plain
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import invalid

_STRATEGY: TypeAdapter[Strategy] = TypeAdapter(Strategy)


def choose(route: Route, body: ChatRequest, fields: Mapping[str, str] | None = None) -> Reasoning | None:
    """Returns the strategy: the request's, or else the assistant's; None is direct. Raises `ApiError`.

    `fields` maps names in a chat to names in the caller's request, if they differ.
    """
    fields = fields or {}
    if route.app is not None:
        _check_for_app(body, fields)
        return None
    strategy = strategy_of(route, body.strategy)
    if body.approvals and not isinstance(strategy, React | ReactCotSc):
        raise invalid(f"approvals applies to strategies that call tools; {strategy.kind} does not.", "approvals")
    if isinstance(strategy, Direct):
        reads = reader(route, body) or route.assistant
        if reads is not None and reads.unsupported not in (None, "mark"):
            check_fields(reads, body, fields)
        return None
    if isinstance(strategy, React | ReactCotSc) and not tools_of(route):
        raise invalid(f"This assistant has no tools, which {strategy.kind} needs.", "strategy")
    require_plain(body, fields, f"applies to the strategy direct only; this request uses {strategy.kind}.")
    if prompt.question_of([{"role": m.role} for m in body.messages]) is None:
        raise invalid("A strategy needs a user message.", fields.get("messages", "messages"))
    return strategy


def _check_for_app(body: ChatRequest, fields: Mapping[str, str]) -> None:
    """Raises `ApiError` for fields that do not apply to an app, which gives one answer, of text."""
    why = "applies to models, not to apps."
    for name, given in (
        ("strategy", body.strategy is not None and body.strategy != "direct"),
        ("approvals", body.approvals),
    ):
        if given:
            raise invalid(f"{name} {why}", name)
    require_plain(body, fields, why)


def strategy_of(route: Route, asked: StrategyKind | None) -> Strategy:
    """Returns the requested strategy, or else the assistant's; raises `ApiError` if the assistant does not allow it."""
    assistant = route.assistant
    strategy: Strategy = assistant.strategy if assistant is not None else Direct()
    if asked is None or asked == strategy.kind:
        return strategy
    if assistant is not None and asked not in assistant.strategies:
        raise invalid(f"This assistant does not allow the strategy {asked}.", "strategy")
    return _STRATEGY.validate_python({"kind": asked})


def tools_of(route: Route) -> tuple[str, ...]:
    """Returns the tools that `react` may call for its caller."""
    return route.tools


def searches_by_itself(route: Route, strategy: Reasoning | None) -> bool:
    """Returns whether the model itself searches the documents."""
    return isinstance(strategy, React | ReactCotSc) and "retrieval" in tools_of(route)
