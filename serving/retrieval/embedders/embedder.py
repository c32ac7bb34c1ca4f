"""What every embedder is to retrieval, wherever it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.types import Chunk

Vectors = NDArray[np.float32]
"""float32[texts, dimensions]"""

Role = Literal["query", "passage"]
"""Whether a text is searched for or found: several models want to be told, by words before the text."""


class Embedder(Protocol):
    """Texts to unit vectors.

    `id` names the weights and how they are asked: vectors compare with those of the same id alone. `unrelated` is the
    cosine of texts that have nothing to do with each other.
    """

    @property
    def id(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def unrelated(self) -> float: ...
    async def embed(self, texts: Sequence[str], role: Role) -> Vectors:
        """Returns unit vectors, float32[len(texts), dimensions]."""
        ...

    def embed_chunks(self, chunks: Sequence[Chunk]) -> Vectors | Awaitable[Vectors]:
        """Returns the vectors of chunks, or what is awaited for them. Called in a thread of documents alone."""
        ...
