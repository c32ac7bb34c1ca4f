"""Retrieval as the gateway sees it: calls of the retrieval deployment, which keeps the embedder and the indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.config import Assistant
from serving.retrieval.types import Attribution, Hit
from serving.security.principal import Principal

EMBEDDER = "all-minilm-l6-v2"
"""The embedder's name in the model list."""


class RetrievalClient:
    """Calls retrieval through a Serve handle."""

    embedder = EMBEDDER

    def __init__(self, handle: Any) -> None:
        self._call = handle.call

    async def context(self, principal: Principal, assistant: Assistant, question: str) -> list[Hit]:
        """Returns the chunks for an assistant's prompt, best first; none when nothing is good enough."""
        hits: list[Hit] = await self._call.remote("context", principal, assistant, question)
        return hits

    async def search(self, principal: Principal, store_id: str, query: str, count: int) -> list[Hit]:
        """Returns the best chunks of one vector store that the principal may read."""
        hits: list[Hit] = await self._call.remote("search", principal, store_id, query, count)
        return hits

    async def attribute(self, answer: str, hits: Sequence[Hit]) -> Attribution:
        """Returns which sentences of an answer the chunks support."""
        found: Attribution = await self._call.remote("attribute", answer, list(hits))
        return found

    async def embed(self, texts: list[str]) -> tuple[NDArray[np.float32], int]:
        """Returns unit vectors, float32[n, dimensions], and the number of tokens read."""
        vectors, tokens = await self._call.remote("embed", texts)
        return vectors, tokens

    async def reachable(self) -> bool:
        """Whether a replica answers within five seconds."""
        try:
            await asyncio.wait_for(self._call.remote("ping"), 5)
        except Exception:
            return False
        return True
