"""The interface of all embedders."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.config import Price
from serving.retrieval.types import Chunk

Vectors = NDArray[np.float32]
"""float32[texts, dimensions]"""

Role = Literal["query", "passage"]
"""Whether a text is a query or a document: several models require a different prefix for each."""


class Embedder(Protocol):
    """Turns texts into unit vectors.

    `id` identifies the weights and the prompts: only vectors of the same id can be compared. `unrelated` is the typical
    cosine of unrelated texts. `name` is the model's name in requests and in usage, `price` that of its tokens.
    """

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def price(self) -> Price | None: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def unrelated(self) -> float: ...
    async def embed(self, texts: Sequence[str], role: Role) -> Vectors:
        """Returns unit vectors, float32[len(texts), dimensions]."""
        ...

    def embed_chunks(self, chunks: Sequence[Chunk]) -> Vectors | Awaitable[Vectors]:
        """Returns the vectors of chunks, or an awaitable of them. It is called only in threads for documents."""
        ...
