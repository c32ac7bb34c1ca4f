"""The rows of a collection's table: converts chunks to columns, and rows to chunks and hits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.types import Chunk, Hit, prefix

Vector = NDArray[np.float32]

MANIFEST = b"headrace"
"""Key of the manifest in a table's metadata."""

ACCESS = pa.field("access", pa.string(), nullable=False)
"""Digests of the names that may read a chunk (see `serving.store.access`); empty: the whole tenant.

It is one string, since LanceDB's expressions, which are safe from injection, can search in strings but not in lists.
"""


def table_schema(manifest: CollectionManifest) -> pa.Schema:
    """Returns the table's columns, with the collection's manifest as metadata."""
    columns = [
        pa.field(name, pa.string(), nullable=False)
        for name in ("chunk_id", "file_id", "tenant", "file_name", "title", "heading", "body")
    ]
    columns += [pa.field(name, pa.int64(), nullable=False) for name in ("start", "end", "ordinal")]
    columns += [pa.field("page", pa.int32()), ACCESS]
    columns.append(pa.field("vector", pa.list_(pa.float32(), manifest.dimensions), nullable=False))
    return pa.schema(columns, metadata={MANIFEST: manifest.to_json().encode()})


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file's chunks with their vectors, of shape (len(chunks), dimensions); `access` lists who may read them."""

    tenant: str
    file_id: str
    file_name: str
    chunks: Sequence[Chunk]
    vectors: Vector
    access: Sequence[str] | None = None


def chunk_rows(file: IndexedFile, schema: pa.Schema) -> pa.Table:
    """Returns the rows of a file."""
    chunks, vectors, file_id = file.chunks, file.vectors, file.file_id
    n = len(chunks)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    columns = {
        "chunk_id": [f"{file_id}:{c.ordinal}" for c in chunks],
        "file_id": [file_id] * n,
        "tenant": [file.tenant] * n,
        "file_name": [file.file_name] * n,
        "title": [c.title for c in chunks],
        "heading": [c.heading for c in chunks],
        "body": [c.body for c in chunks],
        "start": [c.start for c in chunks],
        "end": [c.end for c in chunks],
        "ordinal": [c.ordinal for c in chunks],
        "page": [c.page for c in chunks],
        "access": ["".join(map(access_digest, file.access or ()))] * n,
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    return pa.table(columns, schema=schema)


def row_chunks(rows: pa.Table) -> list[Chunk]:
    """Returns the chunks that rows represent."""
    return [
        Chunk(
            row["ordinal"],
            row["title"],
            row["heading"],
            row["body"].removeprefix(prefix(row["title"], row["heading"])),
            row["start"],
            row["end"],
            row["page"],
        )
        for row in rows.to_pylist()
    ]


def with_vectors(rows: pa.Table, vectors: Vector, schema: pa.Schema) -> pa.Table:
    """Converts rows without vectors to rows of another table, with these vectors."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    columns = {name: rows[name] for name in rows.column_names if name in schema.names}
    columns.setdefault(ACCESS.name, pa.array([""] * len(rows)))  # a table without access lists, from an earlier release
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def access_digest(name: str) -> str:
    """Returns 128 bits of SHA-256 in hexadecimal, in brackets, so that no digest is a substring of others."""
    return f"[{hashlib.sha256(name.encode()).hexdigest()[:32]}]"


def row_dicts(table: pa.Table) -> list[dict[str, Any]]:
    """Returns rows with their vectors as arrays; 38,400 Python floats would take longer than the search."""
    vectors = table["vector"].combine_chunks()
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1) if len(table) else []
    rows: list[dict[str, Any]] = table.drop_columns(["vector"]).to_pylist()
    for row, vector in zip(rows, matrix, strict=True):
        row["vector"] = vector
    return rows


def row_hit(row: dict[str, Any], score: float, cosine: float, bm25: float) -> Hit:
    """Returns the hit for a row, with its fused, similarity and BM25 scores."""
    title, heading = row["title"], row["heading"]
    return Hit(
        chunk_id=row["chunk_id"],
        file_id=row["file_id"],
        file_name=row["file_name"],
        title=title,
        heading=heading,
        text=row["body"].removeprefix(prefix(title, heading)),
        start=row["start"],
        end=row["end"],
        page=row["page"],
        score=score,
        dense_score=cosine,
        bm25_score=bm25,
    )
