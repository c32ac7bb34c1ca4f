"""Retrieval as the gateway sees it: calls of the retrieval deployment, which keeps the embedder and the indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.config import JUDGE, LOCAL_EMBEDDERS, Assistant, Catalog, KnowledgeAccess
from serving.core.principal import Principal
from serving.protocol.filters import Filter
from serving.protocol.knowledge import Knowledge
from serving.retrieval.errors import CollectionNotFound
from serving.retrieval.types import MAX_QUESTION, Attribution, Hit
from serving.telemetry import tracing


class RetrievalUnavailable(Exception):
    """No retrieval replica answers now."""


def _lost_replica_errors() -> tuple[type[Exception], ...]:
    """What a call raises that lost its replica. Ray is imported where there is a replica, and for no other process."""
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    return RayError, RayServeException


class RetrievalClient:
    """Calls retrieval through a Serve handle."""

    embedder = JUDGE
    """What `embed` embeds by: vectors that are kept for memory, and topics, have it whatever a stack searches with."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.local: tuple[str, ...] = (JUDGE,)
        self._access: Mapping[str, KnowledgeAccess] = {}

    def configure(self, catalog: Catalog) -> None:
        """Takes in who may be told of which collection, and which embedders of its own retrieval runs."""
        self.local = tuple(name for name in LOCAL_EMBEDDERS if name in (JUDGE, catalog.search.embedder))
        self._access = {collection.name: collection.access for collection in catalog.collections or ()}

    async def context(
        self,
        principal: Principal,
        assistant: Assistant,
        question: str,
        before: str = "",
        stores: tuple[str, ...] = (),
        knowledge: Knowledge | None = None,
    ) -> list[Hit]:
        """Returns the chunks for an assistant's prompt, best first; none when nothing is good enough.

        `before` is what the user said before the question, of which the first `MAX_QUESTION` characters count.
        The vector stores with the ids `stores` are searched too, and those that `knowledge` names. Collections that the
        principal may not be told of are not searched, nor are vector stores that it may not read. Raises
        `CollectionNotFound` when one of the other collections is not there.
        """
        access = self._access
        who = principal.tenant, principal.user, principal.groups
        told = tuple(name for name in assistant.knowledge if name not in access or access[name].allows(*who))
        if not told and not stores and knowledge is None:
            return []
        granted = tuple(name for name in told if name in access)
        if told != assistant.knowledge:
            assistant = assistant.model_copy(update={"knowledge": told})
        question = question[:MAX_QUESTION]
        with tracing.span("retrieval", {"gen_ai.operation.name": "retrieval"}) as span:
            # What is not asked for is not passed on: replicas of the release before do not know it.
            more = (before, stores, knowledge) if stores or knowledge is not None else (before,) if before else ()
            hits: list[Hit] = await self._call("context", principal, assistant, question, granted, *more)
            if span is not None:
                span.set({"headrace.retrieval.chunks": len(hits)})
                span.content("gen_ai.retrieval.query.text", question)
        return hits

    async def search(
        self,
        principal: Principal,
        store_id: str,
        query: str,
        count: int,
        filters: Filter | None = None,
        score_threshold: float = 0.0,
    ) -> list[Hit]:
        """Returns the best chunks of one vector store that the principal may read, of files that pass the filter.

        Those with a score (0 to 1) below the threshold are left out.
        """
        more = (filters,) if filters is not None else ()
        hits: list[Hit] = await self._call("search", principal, store_id, query[:MAX_QUESTION], count, *more)
        return [hit for hit in hits if hit.score >= score_threshold]

    async def attribute(self, answer: str, hits: Sequence[Hit]) -> Attribution:
        """Returns which sentences of an answer the chunks support."""
        found: Attribution = await self._call("attribute", answer, list(hits))
        return found

    async def embed(self, texts: list[str]) -> tuple[NDArray[np.float32], int]:
        """Returns unit vectors, float32[n, dimensions], and the number of tokens. Of each text its beginning counts."""
        vectors, tokens = await self._call("embed", texts)
        return vectors, tokens

    async def embed_whole(self, texts: list[str], model: str = JUDGE) -> tuple[NDArray[np.float32], int]:
        """As `embed`, of all of each text, however long it is, by one of the `local` embedders."""
        more = (model,) if model != JUDGE else ()
        vectors, tokens = await self._call("embed", texts, True, *more)
        return vectors, tokens

    async def reachable(self) -> bool:
        """Whether a replica answers within five seconds."""
        try:
            await asyncio.wait_for(self._handle.call.remote("ping"), 5)
        except Exception:
            return False
        return True

    async def _call(self, method: str, *args: Any) -> Any:
        """Every call only reads, so one that lost its replica is asked once more of another."""
        try:
            return await self._handle.call.remote(method, *args)
        except CollectionNotFound:
            raise
        except _lost_replica_errors():
            pass
        try:
            return await self._handle.call.remote(method, *args)
        except CollectionNotFound:
            raise
        except _lost_replica_errors() as e:
            raise RetrievalUnavailable("retrieval does not answer") from e
