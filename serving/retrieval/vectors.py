"""Computes a chunk's vector from its text and headings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.types import Chunk, prefix

HEADING_WEIGHT = 0.3
"""Weight of the vector of title and heading in a chunk's vector.

In the vector of the whole chunk, the 200 tokens of its text outweigh the ten of its heading, which is often the
question in other words. On the tuning half of the questions about the documentation (bench/retrieval/answers.py), 0.2
to 0.4 perform alike.
"""


def stretched(cosine: float, unrelated: float) -> float:
    """Rescales a cosine so that 1 stays 1 and the cosine of unrelated texts becomes 0."""
    return (cosine - unrelated) / (1 - unrelated)


class TextEmbedder(Protocol):
    """Turns texts into unit vectors, float32[n, dimensions]."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


def chunk_vectors(chunks: Sequence[Chunk], embedder: TextEmbedder) -> NDArray[np.float32]:
    """Returns unit vectors of chunks, float32[n, dimensions]: each is that of its body, shifted towards its title and
    heading.
    """
    bodies, headings = texts_of(chunks)
    return mixed(chunks, embedder.embed([*bodies, *headings]), headings)


def texts_of(chunks: Sequence[Chunk]) -> tuple[list[str], list[str]]:
    """Returns the texts to embed for chunks: their bodies, and the distinct headings above them."""
    above = dict.fromkeys(_above(chunk) for chunk in chunks)
    return [chunk.body for chunk in chunks], [heading for heading in above if heading]


def mixed(chunks: Sequence[Chunk], vectors: NDArray[np.float32], headings: Sequence[str]) -> NDArray[np.float32]:
    """Returns the vectors of chunks from the vectors of both lists of `texts_of`."""
    bodies, of_heading = vectors[: len(chunks)], dict(zip(headings, vectors[len(chunks) :], strict=True))
    for row, chunk in enumerate(chunks):
        if heading := _above(chunk):
            joined = bodies[row] + HEADING_WEIGHT * of_heading[heading]
            bodies[row] = joined / np.linalg.norm(joined)
    return bodies


def _above(chunk: Chunk) -> str:
    return prefix(chunk.title, chunk.heading).strip()
