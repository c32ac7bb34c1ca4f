"""Who reads documents to answer a request."""

from __future__ import annotations

from serving.config import Assistant
from serving.engines.router import Route
from serving.protocol.chat import ChatRequest

CHUNK_TOKENS = 256
"""What a passage takes at most, in tokens of the embedder."""

BARE = Assistant(name="bare", model="bare", spotlight="delimit")
"""Reads in the place of a bare model. What the tenant's users uploaded is set apart from their instructions."""


def reader(route: Route, body: ChatRequest) -> Assistant | None:
    """Returns the assistant that reads documents for a request, None where nothing is read.

    How much an assistant reads at most is its own to say; a bare model reads as many passages as the request says.
    """
    assistant, asked = route.assistant, body.knowledge
    if asked is None:
        return assistant if route.reads else None
    given = assistant or BARE
    if (most := asked.max_num_results) is None:
        return given
    tokens = given.context_tokens if assistant is not None else max(given.context_tokens, most * CHUNK_TOKENS)
    return given.model_copy(update={"top_k": most, "context_tokens": tokens})
