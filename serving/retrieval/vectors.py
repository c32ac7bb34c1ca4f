"""What a chunk's vector is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.types import Chunk, prefix

HEADING_WEIGHT = 0.3
"""How much the vector of title and heading adds to that of the whole chunk.

In a chunk's own vector its text of 200 tokens drowns the ten of its heading, which often is the question in other
words. On the tuning half of the questions about the documentation (bench/retrieval/answers.py), 0.2 to 0.4 are alike.
"""


class TextEmbedder(Protocol):
    """Texts to unit vectors, float32[n, dimensions]."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


def chunk_vectors(chunks: Sequence[Chunk], embedder: TextEmbedder) -> NDArray[np.float32]:
    """Returns unit vectors of chunks, float32[n, dimensions]: each of its body, moved towards its title and heading."""
    bodies, headings = texts_of(chunks)
    return mixed(chunks, embedder.embed([*bodies, *headings]), headings)


def texts_of(chunks: Sequence[Chunk]) -> tuple[list[str], list[str]]:
    """Returns what is embedded of chunks: their bodies, and the headings above them, each once."""
    above = dict.fromkeys(_above(chunk) for chunk in chunks)
    return [chunk.body for chunk in chunks], [heading for heading in above if heading]


def mixed(chunks: Sequence[Chunk], vectors: NDArray[np.float32], headings: Sequence[str]) -> NDArray[np.float32]:
    """Returns the vectors of chunks from those of the two lists of `texts_of`."""
    bodies, of_heading = vectors[: len(chunks)], dict(zip(headings, vectors[len(chunks) :], strict=True))
    for row, chunk in enumerate(chunks):
        if heading := _above(chunk):
            joined = bodies[row] + HEADING_WEIGHT * of_heading[heading]
            bodies[row] = joined / np.linalg.norm(joined)
    return bodies


def _above(chunk: Chunk) -> str:
    return prefix(chunk.title, chunk.heading).strip()
