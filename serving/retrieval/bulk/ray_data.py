"""Preparation of documents by Ray Data: tasks parse them, actors embed them, and batches stream to the committer.

Ray Data limits the data in flight to the memory of its object store, so that a million chunks need no more memory than
a few thousand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from ray.exceptions import RayError

from serving.retrieval.bulk import prepare
from serving.retrieval.bulk.errors import BulkError
from serving.retrieval.bulk.prepare import PreparedDocument, Source
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.embedders.precomputed import PrecomputedVectors
from serving.retrieval.types import Chunk

READ_AT_ONCE = 16
"""Documents per parsing task."""

EMBEDDED_AT_ONCE = 32
"""Documents whose chunks are embedded together."""

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("path", "sha256", "kind", "error")]
    + [("chunks", pa.large_string()), ("vectors", pa.large_binary())]
)


class _Embed:
    """An actor with one embedder on one CPU."""

    def __init__(self) -> None:
        self._embedder = PrecomputedVectors(OnnxEmbedder())

    def __call__(self, batch: pa.Table) -> pa.Table:
        return _packed(prepare.embed(_unpacked(batch), self._embedder))


def prepared(folder: Path, sources: Sequence[Source], embedders: int) -> Iterator[PreparedDocument]:
    """Yields documents as they become ready, in any order. Ray must be initialised."""
    import ray.data  # needs pandas, from the group `bulk`

    def parse(batch: pa.Table) -> pa.Table:
        rows = batch.to_pylist()
        return _packed([prepare.read(folder, Source(row["path"], row["sha256"])) for row in rows])

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    items = ray.data.from_items([{"path": source.path, "sha256": source.sha256} for source in sources])
    parsed = items.map_batches(parse, batch_size=READ_AT_ONCE, batch_format="pyarrow")
    ready = parsed.map_batches(_Embed, batch_size=EMBEDDED_AT_ONCE, batch_format="pyarrow", concurrency=embedders)
    try:
        for batch in ready.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from _unpacked(batch)
    except RayError as e:
        raise BulkError(f"Ray Data: {str(e).strip().splitlines()[-1]}") from e


def _packed(documents: Sequence[PreparedDocument]) -> pa.Table:
    empty = np.zeros((0, 0), np.float32)
    rows = [
        {
            "path": document.source.path,
            "sha256": document.source.sha256,
            "kind": document.kind,
            "error": document.error,
            "chunks": json.dumps([astuple(chunk) for chunk in document.chunks]),
            "vectors": (empty if document.vectors is None else document.vectors).tobytes(),
        }
        for document in documents
    ]
    return pa.Table.from_pylist(rows, _SCHEMA)


def _unpacked(batch: pa.Table) -> list[PreparedDocument]:
    return [_document(row) for row in batch.to_pylist()]


def _document(row: dict[str, Any]) -> PreparedDocument:
    chunks = [Chunk(*values) for values in json.loads(row["chunks"])]
    vectors = np.frombuffer(row["vectors"], np.float32).reshape(len(chunks), -1) if row["vectors"] else None
    return PreparedDocument(Source(row["path"], row["sha256"]), row["kind"], chunks, vectors, row["error"])
