"""JSON Schemas of answers about vector stores and their files."""

from __future__ import annotations

from typing import get_args

from serving.api.openapi.schemas import ANY as _ANY
from serving.api.openapi.schemas import COUNT as _COUNT
from serving.api.openapi.schemas import METADATA as _METADATA
from serving.api.openapi.schemas import TEXT as _TEXT
from serving.api.openapi.schemas import Schema
from serving.api.openapi.schemas import deleted as _deleted
from serving.api.openapi.schemas import list_of as _list
from serving.api.openapi.schemas import object_of as _object
from serving.api.openapi.schemas import page_of as _page
from serving.store.attachments.file_batches import FileBatchStatus

_EXTRACTION: Schema = {
    "anyOf": [
        _object(None, characters=_COUNT, characters_in_chunks=_COUNT, unread_pages=_COUNT),
        {"type": "null"},
    ]
}
_COUNTS = _object(None, in_progress=_COUNT, completed=_COUNT, failed=_COUNT, cancelled=_COUNT, total=_COUNT)
_STORE = _object(
    "vector_store", id=_TEXT, name=_TEXT, created_at=_COUNT, status=_TEXT, metadata=_METADATA, file_counts=_COUNTS
)
_STORE_FILE = _object(
    "vector_store.file",
    id=_TEXT,
    vector_store_id=_TEXT,
    created_at=_COUNT,
    status={"enum": ["in_progress", "completed", "failed", "cancelled"]},
    attributes={"type": "object"},
    headrace=_object(None, access=_ANY, extraction=_EXTRACTION),
)
_CHUNK = _object(
    "vector_store.file.chunk",
    id=_TEXT,
    vector_store_id=_TEXT,
    file_id=_TEXT,
    index=_COUNT,
    title={"type": "string"},
    heading={"type": "string"},
    text=_TEXT,
    position=_object(None, start=_COUNT, end=_COUNT, page={"type": ["integer", "null"], "minimum": 1}),
)
_CONTENT = _object(
    "vector_store.file_content.page", data=_list(_object(None, type=_TEXT, text=_TEXT)), has_more=_ANY, next_page=_ANY
)
_FILE_BATCH = _object(
    "vector_store.files_batch",
    id=_TEXT,
    vector_store_id=_TEXT,
    created_at=_COUNT,
    status={"enum": list(get_args(FileBatchStatus))},
    file_counts=_COUNTS,
)
_SEARCH = _object(
    "vector_store.search_results.page", search_query=_list(_TEXT), data=_list({"type": "object"}), has_more=_ANY
)
VECTOR_STORE_ANSWERS: dict[str, Schema] = {
    "vector_stores_create": _STORE,
    "vector_stores_list_page": _page(_STORE),
    "vector_stores_get": _STORE,
    "vector_stores_update": _STORE,
    "vector_stores_delete": _deleted("vector_store.deleted"),
    "vector_stores_attach": _STORE_FILE,
    "vector_stores_list_files": _page(_STORE_FILE),
    "vector_stores_get_file": _STORE_FILE,
    "vector_stores_update_file": _STORE_FILE,
    "vector_stores_detach": _deleted("vector_store.file.deleted"),
    "vector_stores_content": _CONTENT,
    "vector_stores_chunks": _page(_CHUNK),
    "vector_stores_search": _SEARCH,
    "file_batches_create": _FILE_BATCH,
    "file_batches_get": _FILE_BATCH,
    "file_batches_cancel": _FILE_BATCH,
    "file_batches_list_files": _page(_STORE_FILE),
}
"""Answers by operation id."""
