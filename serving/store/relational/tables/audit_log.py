"""Tables of the audit log, and of users' pseudonyms in it."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, String, Table

from serving.store.relational.tables.base import NAME, metadata

audit = Table(
    "audit",
    metadata,
    # Rows are never changed: triggers reject that, except within `serving.store.audit.unlocked`.
    Column("tenant", NAME, primary_key=True),  # "" for events that belong to no tenant
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),  # milliseconds: hashed values have no fractions
    Column("actor", String(64)),  # a pseudonym
    Column("key_id", String(64)),
    Column("action", String(64), nullable=False),
    Column("target", String(128)),
    Column("subject", String(64)),  # the subject's pseudonym
    Column("outcome", String(16), nullable=False),
    Column("request_id", String(64)),
    Column("detail", JSON, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("signed_with", String(8), nullable=False),  # id of the key that made the hash
    Column("hash", String(64), nullable=False),
    Index("ix_audit_at", "at"),
    Index("ix_audit_actor", "tenant", "actor", "seq"),
    Index("ix_audit_target", "tenant", "target", "seq"),
)

audit_pseudonyms = Table(
    "audit_pseudonyms",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("user", NAME, primary_key=True),
    Column("salt", String(64), nullable=False),  # without it, the user of a pseudonym cannot be found
)
