"""An embedder that runs inside retrieval."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from serving.retrieval.embedders.embedder import Role, Vectors
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.embedders.precomputed import PrecomputedVectors
from serving.retrieval.types import Chunk
from serving.retrieval.vectors import chunk_vectors


class LocalEmbedder:
    """A model that onnxruntime runs, in threads."""

    def __init__(self, model: OnnxEmbedder) -> None:
        self.model = model
        self._precomputed = PrecomputedVectors(model)
        self.id = model.id
        self.name = model.name
        self.price = None
        self.dimensions = model.dimensions
        self.unrelated = model.unrelated

    async def embed(self, texts: Sequence[str], role: Role) -> Vectors:
        """Returns unit vectors, float32[len(texts), dimensions]."""
        return await asyncio.to_thread(self.model.embed, texts, role)

    def embed_chunks(self, chunks: Sequence[Chunk]) -> Vectors:
        """Returns the vectors of chunks; precomputed ones are looked up."""
        return chunk_vectors(chunks, self._precomputed)
