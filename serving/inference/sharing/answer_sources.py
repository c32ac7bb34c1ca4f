"""What an answer was made from, for readers of a share of its conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.config import Reasoning
from serving.engines.router import Route
from serving.guardrails.checker import INSTRUCTIONS
from serving.inference.conversation_context import ConversationContext
from serving.inference.exchange import Exchange
from serving.inference.strategy_choice import tools_of
from serving.protocol.chat import ChatRequest
from serving.retrieval.types import Hit
from serving.store.sharing.sources import ASSISTANT, MODEL, OWN, answerer

_TRACED = frozenset(("calculator", "python", "time", "retrieval"))
"""Tools that tell a model only what is known here: what follows from its prompt, and hits."""


def answer_sources(
    x: Exchange,
    body: ChatRequest,
    strategy: Reasoning | None,
    hits: Sequence[Hit] | None,
    context: ConversationContext | None,
    route: Route,
    *,
    attached: frozenset[str] = frozenset(),
) -> dict[str, Any] | None:
    """Returns the files of all `hits`, cited or not, and what answered; None if there may be other sources.

    Files in messages, with the ids `attached`, and results in them are items of the conversation, and earlier turns
    have sources of their own. But nobody knows from where apps and other tools, other conversations, or instructions in
    a request have what they say. Called after the answer, with its route: only then are all hits, and what memory
    recalled, known.
    """
    told = strategy is not None and not _TRACED.issuperset(tools_of(route))
    instructed = any(message.role in INSTRUCTIONS for message in body.messages)
    recalled = context is not None and context.recalls_others
    if x.run is not None or route.app is not None or told or instructed or recalled:
        return None
    return {"files": sorted({hit.file_id for hit in hits or ()} - attached), "answerers": _answerers(route)}


def _answerers(route: Route) -> list[str]:
    """Returns what a reader must be allowed to call.

    An assistant of the configuration stands for its models, as it does for those who call it. Everything else needs the
    model or alias that was named, and each model that may have answered: access can differ among an alias's targets.
    """
    if route.assistant is not None and not route.own:
        return [answerer(ASSISTANT, route.assistant.name)]
    own = [answerer(OWN, route.assistant.name)] if route.assistant is not None else []
    models = {route.alias, route.model, *(other.model for other in route.alternatives)}
    return own + [answerer(MODEL, name) for name in sorted(models)]
