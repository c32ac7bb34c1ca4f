"""Files in vector stores: conversion of requests and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.metering.charge import storage_meter
from serving.protocol.errors import not_found
from serving.protocol.vector_stores import ChunkingStrategy
from serving.retrieval.types import Chunk
from serving.store.access import access_document
from serving.store.attachments.attaching import MeterOf
from serving.store.errors import InvalidValue, NotFound
from serving.store.relational.rows import Order, Page
from serving.store.vector_stores import FileCounts, VectorStoreFile

LONGEST_CHUNK_ID = 80
"""A chunk's id is its file's and its number in the document."""

STATUSES = ("in_progress", "completed", "failed", "cancelled")


def chunking_of(asked: ChunkingStrategy | None) -> dict[str, Any] | None:
    """Returns a chunking strategy in its stored form."""
    return asked.model_dump() if asked is not None else None


def storage_of(s: Services, x: Exchange) -> MeterOf:
    """Returns the meter of attachments, whose index size is estimated as the files' size."""
    return lambda files, size: storage_meter(s.keeper, x.caller, attachments=files, stored_bytes=size)


@contextmanager
def naming(param: str | Callable[[str], str]) -> Iterator[None]:
    """Names the body's field with the id of a missing file in the error, since the path is correct."""
    try:
        yield
    except NotFound as e:
        if e.kind != "file":
            raise not_found(e.kind, None) from None
        raise not_found("file", param if isinstance(param, str) else param(e.id)) from None


def render_counts(counts: FileCounts) -> dict[str, int]:
    """Returns the number of files by status."""
    return {
        "in_progress": counts.in_progress,
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "total": counts.total,
    }


def render_file(file: VectorStoreFile) -> dict[str, Any]:
    """Returns OpenAI's object for a file in a vector store."""
    failed = file.error_code is not None
    return {
        "id": file.file_id,
        "object": "vector_store.file",
        "vector_store_id": file.vector_store_id,
        "created_at": int(file.created_at),
        "status": file.status,
        "usage_bytes": file.usage_bytes,
        "last_error": {"code": file.error_code, "message": file.error_message} if failed else None,
        "attributes": file.attributes,
        "chunking_strategy": file.chunking or {"type": "auto"},
        "headrace": {"access": access_document(file.access), "extraction": file.extraction},
    }


def ordinal_of(id: str | None, file: VectorStoreFile) -> int | None:
    """Returns the number of the chunk `id`; raises `InvalidValue` for one of another file."""
    if id is None:
        return None
    of, _, number = id.rpartition(":")
    if of != file.file_id or not (number.isascii() and number.isdecimal()) or len(number) > 9:
        raise _no_such_chunk()
    return int(number)


def wanted_chunks(after: int | None, limit: int, order: Order) -> range:
    """Returns the numbers of the chunks to read for a page: its own, the one before it, and the one behind it."""
    if order == "asc":
        return range(limit + 1) if after is None else range(after, after + limit + 2)
    return range(-limit - 1, 0) if after is None else range(max(after - limit - 1, 0), after + 1)


def chunk_page(found: Sequence[Chunk], after: int | None, limit: int, order: Order) -> Page[Chunk]:
    """Returns the page of the chunks that were read; raises `InvalidValue` if `after` is not among them."""
    chunks = list(found if order == "asc" else reversed(found))
    if after is not None:
        if not chunks or chunks[0].ordinal != after:
            raise _no_such_chunk()
        del chunks[0]
    return Page(chunks[:limit], len(chunks) > limit)


def _no_such_chunk() -> InvalidValue:
    return InvalidValue("after", "there is no such object")


def render_chunk(chunk: Chunk, file: VectorStoreFile) -> dict[str, Any]:
    """Returns the object for a chunk of a file in a vector store."""
    return {
        "id": f"{file.file_id}:{chunk.ordinal}",
        "object": "vector_store.file.chunk",
        "vector_store_id": file.vector_store_id,
        "file_id": file.file_id,
        "index": chunk.ordinal,
        "title": chunk.title,
        "heading": chunk.heading,
        "text": chunk.text,
        "position": {"start": chunk.start, "end": chunk.end, "page": chunk.page},
    }
