"""Files in vector stores: conversion of requests and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.metering.charge import storage_meter
from serving.protocol.errors import not_found
from serving.protocol.vector_stores import ChunkingStrategy
from serving.store.access import access_document
from serving.store.attachments.attaching import MeterOf
from serving.store.errors import NotFound
from serving.store.vector_stores import FileCounts, VectorStoreFile

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
        "headrace": {"access": access_document(file.access)},
    }
