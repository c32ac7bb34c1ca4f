"""Vectors that a release brings along: those of Headrace's own documentation, which every new stack ingests.

A vector is found by the digest of its text and of the embedder, so one of an older text or of another model is never
taken. The texts are public: that one is known quicker than others tells nobody anything.
`python -m tools.known_vectors` writes the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("known_vectors.npz")

Vectors = NDArray[np.float32]


class IdentifiedEmbedder(Protocol):
    """Texts to unit vectors, float32[n, dimensions]; its id names the weights."""

    id: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Vectors: ...


class KnownVectors:
    """An embedder that computes only what it does not know. Safe to share between threads."""

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
    """Writes the vectors of texts with a byte for each dimension, and returns how many there are."""
    wanted = sorted(set(texts))
    vectors = KnownVectors(embedder, file).embed(wanted)  # what did not change is not computed anew
    scales = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    digests = np.frombuffer(b"".join(_digest(embedder.id, text) for text in wanted), np.uint8).reshape(-1, 16)
    rounded = np.round(vectors / scales[:, None]).astype(np.int8)
    np.savez(file, digests=digests, vectors=rounded, scales=scales)
    return len(wanted)


def _digest(embedder: str, text: str) -> bytes:
    return hashlib.sha256(f"{embedder}\0{text}".encode()).digest()[:16]
