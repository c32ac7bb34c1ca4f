"""Tables of batches, of the answers of their lines until they are in files, and of webhooks."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, String, Table, Text, text

from serving.store.relational.tables.base import ID, NAME, metadata

ANSWERED = text("answer_bytes > 0")
"""Batches whose answers count as stored."""

batches = Table(
    "batches",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("caller", JSON, nullable=False),  # the caller's permissions: see absent_callers.py
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", ID, nullable=False),
    Column("output_file_id", ID),
    Column("error_file_id", ID),
    Column("status", String(16), nullable=False),
    Column("errors", JSON(none_as_null=True)),  # reason of its failure
    Column("times", JSON, nullable=False),  # when it was in each status, in unix seconds
    # Number of lines; their outcomes are counted in `batch_lines` until the end.
    Column("total", BigInteger, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("answer_bytes", BigInteger, nullable=False, server_default="0"),  # that `batch_lines` will have in files
    Column("metadata", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_batches_user", "tenant", "user", "created_at", "id"),
    Index("ix_batches_created_at", "created_at"),
    Index("ix_batches_status", "status"),
    Index(
        "ix_batches_answer_bytes",
        "tenant",
        "user",
        "answer_bytes",
        sqlite_where=ANSWERED,
        postgresql_where=ANSWERED,
    ),
)

batch_lines = Table(
    "batch_lines",
    metadata,
    Column("batch_id", ID, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # of the line, from 1
    Column("tenant", NAME, nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("body", Text, nullable=False),  # of the answer, JSON
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("private", Boolean, nullable=False),  # whether its address may be in a private network
    Column("secret", String(64), nullable=False),
    Column("previous_secret", String(64)),
    Column("previous_until", Double),
    Column("created_at", Double, nullable=False),
    Column("set_by", String(16), nullable=False, server_default="tenant"),  # who may see and change it
    Column("not_sent", BigInteger, nullable=False, server_default="0"),  # events for which no delivery had room
    Index("ix_webhooks_tenant_created_at", "tenant", "created_at", "id"),
)
