"""What every embedder is to retrieval, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""float32[texts, dimensions]"""

Role = Literal["query", "passage"]
"""Whether a text is searched for or found: several models want to be told, by words before the text."""


class Embedder(Protocol):
    """Texts to unit vectors.

    `id` names the weights: vectors compare with those of the same id alone. Of a text `max_tokens` tokens are read.
    """

    @property
    def id(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    async def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """Returns unit vectors, float32[len(texts), dimensions]."""
        ...
