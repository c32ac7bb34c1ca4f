"""Tables of background jobs and registered exports."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Index, Integer, String, Table, Text, false, text

from serving.store.relational.tables.base import ID, NAME, metadata

UNFINISHED = text("status IN ('queued', 'running')")

RUNNING = text("status = 'running'")

COUNTED = text("bytes > 0 AND status IN ('queued', 'running')")
"""Those whose bytes count as stored."""

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
    Column("lane", String(16), nullable=False, server_default=""),  # see job.py
    Column("bytes", BigInteger, nullable=False, server_default="0"),  # of the payload, if they count as stored
    Column("tokens", BigInteger, nullable=False, server_default="0"),  # that it may use, of its user's quotas
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index("ix_jobs_tenant_seq", "tenant", "seq"),
    Index("ix_jobs_unfinished", "seq", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index("ix_jobs_waiting", "tenant", "lane", "seq", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index("ix_jobs_running", "lane", "tenant", sqlite_where=RUNNING, postgresql_where=RUNNING),
    Index("ix_jobs_bytes", "tenant", "user", "bytes", sqlite_where=COUNTED, postgresql_where=COUNTED),
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

exports = Table(
    "exports",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("folder", Text, nullable=False),  # on the host that wrote it
    Column("salt", String(64), nullable=False),
    Column("people", JSON, nullable=False),  # its users, hashed with the salt
    Column("created_at", Double, nullable=False),
    Index("ix_exports_tenant_created_at", "tenant", "created_at", "id"),
)
