"""Precomputed vectors of Headrace's own documentation, which every new stack ingests; they are part of a release.

A vector is looked up by the digest of its text and embedder, so that vectors of older texts or other models are never
used. The texts are public, so it reveals nothing that they are found faster than others. `python -m
tools.precomputed_vectors` writes the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("precomputed_vectors.npz")

Vectors = NDArray[np.float32]


class IdentifiedEmbedder(Protocol):
    """Turns texts into unit vectors, float32[n, dimensions]; its id identifies the weights."""

    id: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Vectors: ...


class PrecomputedVectors:
    """An embedder that computes only vectors that are not precomputed. Safe to share between threads."""

    def __init__(self, embedder: IdentifiedEmbedder, file: Path = FILE) -> None:
        self._embedder = embedder
        self._rows: dict[bytes, int] = {}
        if file.exists():
            with np.load(file) as found:
                self._vectors, self._scales = found["vectors"], found["scales"]
                self._rows = {digest.tobytes(): row for row, digest in enumerate(found["digests"])}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Returns unit vectors of shape (len(texts), dimensions)."""
        known = [self._rows.get(_digest(self._embedder.id, text)) for text in texts]
        vectors = np.zeros((len(texts), self._embedder.dimensions), np.float32)
        if unknown := [place for place, row in enumerate(known) if row is None]:
            vectors[unknown] = self._embedder.embed([texts[place] for place in unknown])
        for place, row in enumerate(known):
            if row is not None:
                vector = self._vectors[row].astype(np.float32) * self._scales[row]
                vectors[place] = vector / np.linalg.norm(vector)
        return vectors


def write(embedder: IdentifiedEmbedder, texts: Iterable[str], file: Path = FILE) -> int:
    """Writes the vectors of texts with one byte per dimension, and returns their number."""
    wanted = sorted(set(texts))
    vectors = PrecomputedVectors(embedder, file).embed(wanted)  # vectors of unchanged texts are not computed again
    scales = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    digests = np.frombuffer(b"".join(_digest(embedder.id, text) for text in wanted), np.uint8).reshape(-1, 16)
    rounded = np.round(vectors / scales[:, None]).astype(np.int8)
    np.savez(file, digests=digests, vectors=rounded, scales=scales)
    return len(wanted)


def _digest(embedder: str, text: str) -> bytes:
    return hashlib.sha256(f"{embedder}\0{text}".encode()).digest()[:16]
