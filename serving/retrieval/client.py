"""The gateway's client of the retrieval deployment, which has the embedder and the indexes."""

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
from serving.retrieval.types import MAX_QUESTION, AttachedDocument, Attribution, Chunk, Hit
from serving.telemetry import tracing


class RetrievalUnavailable(Exception):
    """No retrieval replica answers."""


def _lost_replica_errors() -> tuple[type[Exception], ...]:
    """Returns the errors of a call that lost its replica. Ray is imported only in processes that have replicas."""
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    return RayError, RayServeException


class RetrievalClient:
    """Calls retrieval through a Serve handle."""

    embedder = JUDGE
    """The embedder of `embed`. Stored vectors of memory, and topics, always use it, whatever embedder searches use."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.local: tuple[str, ...] = (JUDGE,)
        self._access: Mapping[str, KnowledgeAccess] = {}

    def configure(self, catalog: Catalog) -> None:
        """Takes the new catalogue, which determines who may search which collection, and the local embedders."""
        self.local = tuple(name for name in LOCAL_EMBEDDERS if name in (JUDGE, catalog.search.embedder))
        self._access = {collection.name: collection.access for collection in catalog.collections or ()}

    def collections_for(self, principal: Principal, names: Sequence[str]) -> dict[str, bool]:
        """Returns which collections an assistant may read for the principal: each with whether it is read with the
        access of the stack's own user.
        """
        access = self._access
        who = principal.tenant, principal.user, principal.groups
        return {name: name in access for name in names if name not in access or access[name].allows(*who)}

    async def context(
        self,
        principal: Principal,
        assistant: Assistant,
        question: str,
        before: str = "",
        stores: tuple[str, ...] = (),
        knowledge: Knowledge | None = None,
    ) -> list[Hit]:
        """Returns the chunks for an assistant's prompt, best first; none when no chunk is relevant.

        `before` is the user's previous message, of which the first `MAX_QUESTION` characters count. The vector stores
        with the ids `stores`, and those named in `knowledge`, are searched too. Collections that are hidden from the
        principal, and vector stores that it may not read, are not searched. Raises `CollectionNotFound` when one of the
        other collections does not exist.
        """
        collections = self.collections_for(principal, assistant.knowledge)
        told = tuple(collections)
        if not told and not stores and knowledge is None:
            return []
        granted = tuple(name for name in told if collections[name])
        if told != assistant.knowledge:
            assistant = assistant.model_copy(update={"knowledge": told})
        question = question[:MAX_QUESTION]
        with tracing.span("retrieval", {"gen_ai.operation.name": "retrieval"}) as span:
            # Parameters without a value are omitted: replicas of the previous release do not know them.
            more = (before, stores, knowledge) if stores or knowledge is not None else (before,) if before else ()
            hits: list[Hit] = await self._call("context", principal, assistant, question, granted, *more)
            if span is not None:
                span.set({"headrace.retrieval.chunks": len(hits)})
                span.content("gen_ai.retrieval.query.text", question)
        return hits

    async def attached(
        self,
        principal: Principal,
        assistant: Assistant,
        question: str,
        files: Sequence[AttachedDocument],
        before: str = "",
    ) -> list[Hit]:
        """Returns the passages of attached files for an assistant, best first; none when it quotes and none is
        relevant. `before` is the user's previous message.
        """
        with tracing.span("retrieval", {"gen_ai.operation.name": "retrieval"}) as span:
            given = assistant, question[:MAX_QUESTION], list(files), before
            hits: list[Hit] = await self._call("attached", principal, *given)
            if span is not None:
                span.set({"headrace.retrieval.chunks": len(hits)})
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
        """Returns the best chunks of one vector store that the principal may read, from files that match the filter.

        Chunks with a score (0 to 1) below the threshold are omitted.
        """
        more = (filters,) if filters is not None else ()
        hits: list[Hit] = await self._call("search", principal, store_id, query[:MAX_QUESTION], count, *more)
        return [hit for hit in hits if hit.score >= score_threshold]

    async def chunks(self, principal: Principal, store_id: str, file_id: str, wanted: range) -> list[Chunk]:
        """Returns the chunks with these ordinals, in order, of a file that the principal may read.

        Ordinals below 0 count from the last chunk, as in a slice.
        """
        try:
            found: list[Chunk] = await self._call("chunks", principal, store_id, file_id, wanted)
        except CollectionNotFound:  # nothing has been ingested yet
            return []
        return found

    async def attribute(self, answer: str, hits: Sequence[Hit]) -> Attribution:
        """Returns which sentences of an answer are supported by the chunks."""
        found: Attribution = await self._call("attribute", answer, list(hits))
        return found

    async def embed(self, texts: list[str]) -> tuple[NDArray[np.float32], int]:
        """Returns unit vectors, float32[n, dimensions], and the number of tokens. Only the beginning of each text is
        embedded.
        """
        vectors, tokens = await self._call("embed", texts)
        return vectors, tokens

    async def embed_whole(self, texts: list[str], model: str = JUDGE) -> tuple[NDArray[np.float32], int]:
        """Like `embed`, but for the whole of each text, whatever its length, by one of the `local` embedders."""
        more = (model,) if model != JUDGE else ()
        vectors, tokens = await self._call("embed", texts, True, *more)
        return vectors, tokens

    async def reachable(self) -> bool:
        """Returns whether a replica answers within five seconds."""
        try:
            await asyncio.wait_for(self._handle.call.remote("ping"), 5)
        except Exception:
            return False
        return True

    async def _call(self, method: str, *args: Any) -> Any:
        """Calls a replica. Since calls only read, a call that lost its replica is repeated once on another one."""
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
