"""Vectors that are computed once and kept, so that a benchmark that was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.embedders.embedder import Role, Vectors

FOLDER = Path(__file__).resolve().parents[1] / ".headrace" / "bench"
TOGETHER = 64
"""Texts that are embedded before their vectors are written."""
REPORT_EVERY_S = 30
PROBE = "The mill stands on the river, and the river feeds the lock. " * 100
"""A text that is longer than any window."""


class RoleEmbedder(Protocol):
    """Texts to unit vectors, float32[n, dimensions]; its id names the weights."""

    id: str
    dimensions: int

    def embed(self, texts: Sequence[str], role: Role) -> Vectors: ...


class KeptVectors:
    """An embedder that writes each vector to a file, under a digest of the embedder, the role and the text.

    Each benchmark has a file of its own, since two processes must not write one. `computed` counts the texts that were
    not in the file.
    """

    def __init__(self, embedder: RoleEmbedder, benchmark: str, folder: Path = FOLDER) -> None:
        self._embedder = embedder
        self._record = np.dtype([("digest", np.uint8, 16), ("vector", np.float32, embedder.dimensions)])
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{benchmark}-{embedder.id}.vectors"
        self._known: dict[bytes, NDArray[np.float32]] = {}
        self.computed = 0
        if self._file.exists():
            self._load()
        self._check()

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """Returns unit vectors, float32[len(texts), dimensions]."""
        digests = [self._digest(text, role) for text in texts]
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in self._known}
        began = reported = time.monotonic()
        for start in range(0, len(missing), TOGETHER):
            part = list(missing)[start : start + TOGETHER]
            self._keep(part, self._embedder.embed([missing[digest] for digest in part], role))
            if (now := time.monotonic()) - reported >= REPORT_EVERY_S:
                reported = now
                print(f"{start + len(part)} of {len(missing)} vectors, {now - began:.0f} s", file=sys.stderr)
        if not texts:
            return np.zeros((0, self._embedder.dimensions), np.float32)
        return np.stack([self._known[digest] for digest in digests])

    def _keep(self, digests: Sequence[bytes], vectors: Vectors) -> None:
        records = np.zeros(len(digests), self._record)
        records["digest"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
        records["vector"] = vectors
        with self._file.open("ab") as file:
            file.write(records.tobytes())
        self._known |= zip(digests, vectors, strict=True)
        self.computed += len(digests)

    def _load(self) -> None:
        """Reads what was kept; what a killed process wrote in part is cut off."""
        whole = self._file.stat().st_size // self._record.itemsize
        with self._file.open("r+b") as file:
            file.truncate(whole * self._record.itemsize)
        for record in np.fromfile(self._file, self._record):
            self._known[record["digest"].tobytes()] = record["vector"]

    def _check(self) -> None:
        """Forgets the vectors of an embedder whose prefix, pooling or window has changed since."""
        for role in ("query", "passage"):
            [vector] = self._embedder.embed([PROBE], role)
            digest = self._digest(PROBE, role)
            if (known := self._known.get(digest)) is not None and not np.allclose(vector, known, atol=1e-3):
                print(f"{self._file.name}: the embedder has changed, its vectors are computed again", file=sys.stderr)
                self._known.clear()
                self._file.unlink()
            if digest not in self._known:
                self._keep([digest], vector[None])
        self.computed = 0

    def _digest(self, text: str, role: Role) -> bytes:
        return hashlib.sha256(f"{self._embedder.id}\0{role}\0{text}".encode()).digest()[:16]
