"""A worker's preparation of a document for the index: its kind, chunks and vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.chunk import ChunkSettings
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.sandbox import chunk_isolated, detect_isolated
from serving.retrieval.types import Chunk, Extraction
from serving.retrieval.vectors import TextEmbedder, chunk_vectors

EMBED_AT_ONCE = 64
"""Chunks per call of the embedder."""


@dataclass(frozen=True, slots=True)
class Source:
    """A document to load, below the folder."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A document that is ready for the index, or only its path and an `error`."""

    source: Source
    kind: str = ""
    chunks: Sequence[Chunk] = ()
    vectors: NDArray[np.float32] | None = None
    error: str = ""
    extraction: Extraction | None = None


def read(folder: Path, source: Source) -> PreparedDocument:
    """Parses a document in confined child processes; it has no vectors yet."""
    try:
        data = (folder / source.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != source.sha256:
            return PreparedDocument(source, error="changed while it was read; try again")
        name = source.path.rpartition("/")[2]
        kind = detect_isolated(data, name)
        chunks, extraction = chunk_isolated(data, name, ChunkSettings())
        return PreparedDocument(source, kind, chunks, extraction=extraction)
    except UnreadableDocument as e:
        return PreparedDocument(source, error=e.message)
    except OSError as e:
        return PreparedDocument(source, error=f"cannot be read: {e.strerror or e}")


def embed(documents: Sequence[PreparedDocument], embedder: TextEmbedder) -> list[PreparedDocument]:
    """Adds the documents' vectors, in batches across documents."""
    chunks = [chunk for document in documents for chunk in document.chunks]
    parts = [chunk_vectors(chunks[i : i + EMBED_AT_ONCE], embedder) for i in range(0, len(chunks), EMBED_AT_ONCE)]
    vectors = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    done, at = [], 0
    for document in documents:
        done.append(replace(document, vectors=vectors[at : at + len(document.chunks)]))
        at += len(document.chunks)
    return done


def here(folder: Path, sources: Iterable[Source], embedder: TextEmbedder, together: int) -> Iterator[PreparedDocument]:
    """Prepares documents in this process, batch by batch."""
    batch: list[PreparedDocument] = []
    for source in sources:
        batch.append(read(folder, source))
        if len(batch) == together:
            yield from embed(batch, embedder)
            batch = []
    yield from embed(batch, embedder)
