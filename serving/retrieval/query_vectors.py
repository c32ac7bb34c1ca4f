"""The vectors of one query by all embedders that the indexes need, each computed once."""

from __future__ import annotations

import asyncio

from serving.retrieval.embedders.embedder import Embedder, Vectors

EARLIER = 1_000
"""Number of characters of the previous message that are searched together with a question: its end."""


def following(before: str, question: str) -> str:
    """Returns a question behind the end of the message before it."""
    return f"{before[-EARLIER:]}\n{question}"


class QueryVectors:
    """Vectors of a query, computed on first use; of `meant` instead of the text if it differs."""

    def __init__(self, text: str, meant: str | None = None) -> None:
        self.text = text
        self.meant = text if meant is None else meant
        self._made: dict[str, asyncio.Task[Vectors]] = {}

    async def made_by(self, embedder: Embedder) -> Vectors:
        """Returns the query's vector, float32[dimensions]. Raises `ApiError` if the embedder's engine fails."""
        task = self._made.get(embedder.id)
        if task is None:
            task = self._made[embedder.id] = asyncio.ensure_future(embedder.embed([self.meant], "query"))
        vector: Vectors = (await asyncio.shield(task))[0]
        return vector
