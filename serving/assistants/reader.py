"""The assistant that reads documents for a request."""

from __future__ import annotations

from serving.config import Assistant
from serving.engines.router import Route
from serving.protocol.chat import ChatRequest

CHUNK_TOKENS = 256
"""Maximum number of tokens of a passage, for the embedder."""

BARE = Assistant(name="bare", model="bare", spotlight="delimit")
"""Reads documents for a model without assistant. Text that the tenant's users uploaded is marked as data."""


def reader(route: Route, body: ChatRequest) -> Assistant | None:
    """Returns the assistant that reads documents for a request, or None if none are read.

    An assistant limits its documents itself; without one, the request sets the number of passages.
    """
    assistant, asked = route.assistant, body.knowledge
    if asked is None:
        return assistant if route.reads else None
    given = assistant or BARE
    if (most := asked.max_num_results) is None:
        return given
    tokens = given.context_tokens if assistant is not None else max(given.context_tokens, most * CHUNK_TOKENS)
    return given.model_copy(update={"top_k": most, "context_tokens": tokens})
