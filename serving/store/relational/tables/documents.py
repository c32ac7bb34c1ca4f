"""Tables of files and vector stores."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, ForeignKey, Index, String, Table, Text

from serving.store.relational.tables.base import ID, NAME, metadata

files = Table(
    "files",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # null: everybody in the tenant, for rows from versions without owners
    Column("filename", NAME, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("kind", String(64), nullable=False),  # content type determined from the content
    Column("access", JSON(none_as_null=True)),  # who may read it: see access.py; null: everybody in the tenant
    Column("created_at", Double, nullable=False),
    Index("ix_files_tenant_created_at", "tenant", "created_at", "id"),
)

vector_stores = Table(
    "vector_stores",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # null: everybody in the tenant, for rows from versions without owners
    Column("name", NAME, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("access", JSON(none_as_null=True)),  # who may read it: see access.py; null: everybody in the tenant
    Column("created_at", Double, nullable=False),
    Column("last_active_at", Double, nullable=False),
    Column("indexes", JSON(none_as_null=True)),  # see indexes.py; null while there is one index, with the store's id
    Index("ix_vector_stores_tenant_created_at", "tenant", "created_at", "id"),
    Index("ix_vector_stores_tenant_name", "tenant", "name"),
)

vector_store_files = Table(
    "vector_store_files",
    metadata,
    Column("vector_store_id", ID, ForeignKey("vector_stores.id"), primary_key=True),
    Column("file_id", ID, ForeignKey("files.id"), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("chunking", JSON, nullable=False),
    Column("usage_bytes", BigInteger, nullable=False),
    Column("extraction", JSON(none_as_null=True)),  # how much text is in chunks; null until an ingestion tells
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("job_id", ID, nullable=False),  # the ingestion whose end determines the status
    Column("access", JSON(none_as_null=True)),  # who may read it: see access.py; null: everybody in the tenant
    Column("created_at", Double, nullable=False),
    Index("ix_vector_store_files_file_id", "file_id"),
    Index("ix_vector_store_files_job_id", "job_id"),
)

file_batches = Table(
    "file_batches",
    metadata,
    Column("id", ID, primary_key=True),
    Column("vector_store_id", ID, ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False),
    Column("tenant", NAME, nullable=False),
    Column("cancelled_at", Double),
    Column("created_at", Double, nullable=False),
    Index("ix_file_batches_vector_store_id", "vector_store_id"),
)

file_batch_files = Table(
    "file_batch_files",
    metadata,
    Column("batch_id", ID, ForeignKey("file_batches.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("file_id", ID, primary_key=True),  # in the batch's store as long as this row exists
    Index("ix_file_batch_files_file_id", "file_id"),
)
