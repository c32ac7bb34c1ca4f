"""The vectors of one query by every embedder that indexes ask for, each made once."""

from __future__ import annotations

import asyncio

from serving.retrieval.embedders.embedder import Embedder, Vectors


class QueryVectors:
    """Vectors of a query, made when they are first asked for, of what is `meant` where that is not all of its text."""

    def __init__(self, text: str, meant: str | None = None) -> None:
        self.text = text
        self._meant = text if meant is None else meant
        self._made: dict[str, asyncio.Task[Vectors]] = {}

    async def made_by(self, embedder: Embedder) -> Vectors:
        """Returns the query's vector, float32[dimensions]. Raises `ApiError` where the embedder's engine fails."""
        task = self._made.get(embedder.id)
        if task is None:
            task = self._made[embedder.id] = asyncio.ensure_future(embedder.embed([self._meant], "query"))
        vector: Vectors = (await asyncio.shield(task))[0]
        return vector
