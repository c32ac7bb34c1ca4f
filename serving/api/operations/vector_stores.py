"""Operations of vector stores and their files."""

from __future__ import annotations

from serving.api.operation import Operation, Parameter
from serving.api.parameters import OLDEST_FIRST, PAGE
from serving.api.routes import file_batches, vector_stores
from serving.api.vector_store_files import LONGEST_CHUNK_ID, STATUSES
from serving.protocol.vector_stores import (
    FileBatchRequest,
    SearchRequest,
    VectorStoreFileRequest,
    VectorStoreFileUpdate,
    VectorStoreRequest,
    VectorStoreUpdate,
)

_ONE = "/v1/vector_stores/{store_id}"
_FILE = f"{_ONE}/files/{{file_id}}"
_BATCH = f"{_ONE}/file_batches/{{file_batch_id}}"
_CHUNKS = (*OLDEST_FIRST[:2], Parameter("after", {"type": "string", "maxLength": LONGEST_CHUNK_ID}))
_FILES = (*PAGE, Parameter("filter", {"type": "string", "enum": list(STATUSES)}))

VECTOR_STORE_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1/vector_stores",
        vector_stores.create,
        VectorStoreRequest,
        once="transaction",
        scope="data",
        audited="vector_store.create",
        own_transaction=True,
    ),
    Operation(
        "GET",
        "/v1/vector_stores",
        vector_stores.list_page,
        query=(*PAGE, Parameter("name", {"type": "string", "maxLength": 256})),
        scope="data:read",
    ),
    Operation("GET", _ONE, vector_stores.get, scope="data:read"),
    Operation("POST", _ONE, vector_stores.update, VectorStoreUpdate, scope="data", audited="vector_store.update"),
    Operation("DELETE", _ONE, vector_stores.delete, scope="data", audited="vector_store.delete"),
    Operation(
        "POST",
        f"{_ONE}/files",
        vector_stores.attach,
        VectorStoreFileRequest,
        once="transaction",
        scope="data",
        audited="vector_store_file.create",
    ),
    Operation("GET", f"{_ONE}/files", vector_stores.list_files, query=_FILES, scope="data:read"),
    Operation("GET", _FILE, vector_stores.get_file, scope="data:read"),
    Operation("GET", f"{_FILE}/content", vector_stores.content, scope="data:read"),
    Operation("GET", f"{_FILE}/chunks", vector_stores.chunks, query=_CHUNKS, scope="data:read"),
    Operation(
        "POST",
        _FILE,
        vector_stores.update_file,
        VectorStoreFileUpdate,
        scope="data",
        audited="vector_store_file.update",
    ),
    Operation("DELETE", _FILE, vector_stores.detach, scope="data", audited="vector_store_file.delete"),
    Operation(
        "POST",
        f"{_ONE}/file_batches",
        file_batches.create,
        FileBatchRequest,
        once="transaction",
        scope="data",
        audited="vector_store_file_batch.create",
    ),
    Operation("GET", _BATCH, file_batches.get, scope="data:read"),
    Operation("POST", f"{_BATCH}/cancel", file_batches.cancel, scope="data", audited="vector_store_file_batch.cancel"),
    Operation("GET", f"{_BATCH}/files", file_batches.list_files, query=_FILES, scope="data:read"),
    Operation("POST", f"{_ONE}/search", vector_stores.search, SearchRequest, scope="data:read"),
)
