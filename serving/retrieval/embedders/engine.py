"""An embedder that runs in an engine: llama.cpp, vLLM, KServe or a remote endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from serving.config import Embedding, Model
from serving.core.principal import STACK, Principal
from serving.engines.client import EngineClient
from serving.engines.embedding import embed
from serving.engines.pool import Engines
from serving.protocol.errors import ApiError
from serving.retrieval.embedders.embedder import Role, Vectors
from serving.retrieval.types import Chunk
from serving.retrieval.vectors import mixed, texts_of
from serving.store.users import ADMIN

SHORTEST = 256
"""Length in characters below which a text that an engine finds too long is not cut further."""

RETRIEVAL = Principal(STACK, ADMIN, key_id="retrieval")
"""The caller of the engine: a batch has chunks of several tenants, whom ingestion charges."""


class EngineEmbedder:
    """A configured model whose task is embedding."""

    def __init__(self, engines: Engines, client: EngineClient, model: Model, shape: Embedding) -> None:
        self._engines = engines
        self._client = client
        self.name = model.name
        self.price = model.price
        self._shape = shape
        self.id = embedder_id(model, shape)
        self.dimensions = shape.dimensions
        self.unrelated = 0.0

    async def embed(self, texts: Sequence[str], role: Role) -> Vectors:
        """Returns unit vectors, float32[len(texts), dimensions]. Raises `ApiError`."""
        prefix = self._shape.query_prefix if role == "query" else self._shape.passage_prefix
        return await self._embed([prefix + text for text in texts])

    async def embed_chunks(self, chunks: Sequence[Chunk]) -> Vectors:
        """Returns the vectors of chunks. Raises `ApiError`."""
        bodies, headings = texts_of(chunks)
        return mixed(chunks, await self.embed([*bodies, *headings], "passage"), headings)

    async def _embed(self, texts: list[str]) -> Vectors:
        """Embeds texts; a text that is too long for the engine is cut until it fits."""
        try:
            vectors, _ = await embed(self._engines, self._client, self.name, self._shape, RETRIEVAL, texts)
        except ApiError as e:
            if e.type != "invalid_request_error" or (len(texts) == 1 and len(texts[0]) <= SHORTEST):
                raise
            if len(texts) == 1:
                return await self._embed([texts[0][: max(SHORTEST, len(texts[0]) // 2)]])
            return np.concatenate([await self._embed([text]) for text in texts])
        return vectors


def embedder_id(model: Model, shape: Embedding) -> str:
    """Returns the model's name with a digest of all settings that determine its vectors."""
    where = getattr(model, "source", None) or getattr(model, "storage", None) or getattr(model, "model", None)
    parts = (where, getattr(model, "pooling", None), shape.dimensions, shape.query_prefix, shape.passage_prefix)
    return f"{model.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"
