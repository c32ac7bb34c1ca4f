"""The assistant that reads documents for a request."""

from __future__ import annotations

from serving.config import Assistant
from serving.config.assistant import Unsupported
from serving.engines.router import Route
from serving.protocol.chat import ChatRequest

CHUNK_TOKENS = 256
"""Maximum number of tokens of a passage, for the embedder."""

BARE = Assistant(name="bare", model="bare", spotlight="delimit")
"""Reads documents for a model without assistant. Text that the tenant's users uploaded is marked as data."""


def reader(route: Route, body: ChatRequest) -> Assistant | None:
    """Returns the assistant that reads documents for a request, or None if none are read.

    The request sets the number of passages, and without an assistant or below its limit also their length. What becomes
    of unsupported answers is what the assistant says, else the request, else what suits the model.
    """
    assistant, asked = route.assistant, body.knowledge
    if asked is None and not route.reads:
        return None
    given = assistant or BARE
    changed: dict[str, object] = {
        "unsupported": given.unsupported or (asked.unsupported if asked is not None else None) or _suited(route, body)
    }
    if asked is not None and (most := asked.max_num_results) is not None:
        changed["top_k"] = most
        if assistant is None:
            changed["context_tokens"] = max(given.context_tokens, most * CHUNK_TOKENS)
    if asked is not None and (tokens := asked.context_tokens) is not None:
        changed["context_tokens"] = tokens if assistant is None else min(tokens, assistant.context_tokens)
    return given.model_copy(update=changed)


def quotes(route: Route) -> bool:
    """Returns whether documents are quoted to whoever asks for one answer in text, whichever model of it answers."""
    said = route.assistant.unsupported if route.assistant is not None else None
    if said is not None:
        return said == "quote"
    return not any(_answers(each) for each in (route, *route.alternatives))


def _suited(route: Route, body: ChatRequest) -> Unsupported:
    """Returns what becomes of unsupported answers if nobody says it: quotes, if the model's own answers are no use.

    Quotes are not what a request for more than one answer in text asks for.
    """
    return "mark" if _answers(route) or beyond_text(body) else "quote"


def _answers(route: Route) -> bool:
    """Returns whether what answers can do so from passages."""
    return route.grounded or route.app is not None


def beyond_text(body: ChatRequest) -> str | None:
    """Returns the name of the first field that asks for something else than one answer in text; None without one."""
    asked = {
        "n": (body.n or 1) > 1,
        "tools": bool(body.tools),
        "logprobs": bool(body.logprobs),
        "response_format": body.response_format is not None and body.response_format.type != "text",
    }
    return next((name for name, given in asked.items() if given), None)
