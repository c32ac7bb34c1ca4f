"""The tables. Every row carries its tenant; times are unix seconds.

A change here needs a migration beside it: a test compares the two.
"""

from __future__ import annotations

import re

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Id(TypeDecorator[str]):
    """An id. What no id can be (a lone surrogate, NUL, a novel) matches no row, instead of failing in the driver."""

    impl = String(64)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or _ID.fullmatch(value) else ""


ID = Id()
NAME = String(256)

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", ID, primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # HMAC-SHA256 of the key, hexadecimal
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("bootstrap", Boolean, nullable=False, server_default=false()),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Index("ix_keys_tenant_created_at", "tenant", "created_at", "id"),
)

files = Table(
    "files",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("filename", NAME, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("kind", String(64), nullable=False),  # content type found by looking at the content
    Column("created_at", Double, nullable=False),
    Index("ix_files_tenant_created_at", "tenant", "created_at", "id"),
)

vector_stores = Table(
    "vector_stores",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_active_at", Double, nullable=False),
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
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("job_id", ID, nullable=False),  # the ingestion whose end decides the status
    Column("created_at", Double, nullable=False),
    Index("ix_vector_store_files_file_id", "file_id"),
    Index("ix_vector_store_files_job_id", "job_id"),
)

UNFINISHED = text("status IN ('queued', 'running')")

jobs = Table(
    "jobs",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", ID, nullable=False, unique=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("run_after", Double, nullable=False),
    Column("lease_owner", NAME),
    Column("lease_until", Double),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("dedupe_key", NAME),
    Column("group_key", String(64)),
    Column("group_item", String(64)),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index("ix_jobs_tenant_seq", "tenant", "seq"),
    Index("ix_jobs_unfinished", "seq", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index("ix_jobs_group", "group_key", "seq", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index(
        "uq_jobs_dedupe",
        "tenant",
        "kind",
        "dedupe_key",
        unique=True,
        sqlite_where=UNFINISHED,
        postgresql_where=UNFINISHED,
    ),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # number of its newest item; never given again
    Column("last_turn", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_conversations_tenant_created_at", "tenant", "created_at", "id"),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", ID, nullable=False, unique=True),
    Column("tenant", NAME, nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),  # OpenAI's item without its id; what a message says is a list of typed parts
    Column("created_at", Double, nullable=False),
    Index("ix_conversation_items_turn", "conversation_id", "turn", "seq", "tenant"),  # turns are counted in it alone
)

responses = Table(
    "responses",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    # What was said before it: another response, or a conversation's items with numbers below `conversation_before`.
    Column("previous_id", ID),
    Column("conversation_id", ID),
    Column("conversation_before", BigInteger),
    Column("turns", Integer, nullable=False),  # that begin in it
    Column("body", JSON, nullable=False),  # OpenAI's response object, with its output
    Column("input", JSON, nullable=False),  # OpenAI's items with their ids
    Column("created_at", Double, nullable=False),
    Index("ix_responses_previous_id", "previous_id"),
)
