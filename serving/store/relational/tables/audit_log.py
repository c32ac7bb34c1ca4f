"""The audit log, and the names that it knows users by."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, String, Table

from serving.store.relational.tables.base import NAME, metadata

audit = Table(
    "audit",
    metadata,
    # Rows are added and never changed: triggers refuse the rest, but for what `serving.store.audit.unlocked` surrounds.
    Column("tenant", NAME, primary_key=True),  # "" has what belongs to no tenant
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),  # milliseconds: what is hashed has no fractions
    Column("actor", String(64)),  # a pseudonym
    Column("key_id", String(64)),
    Column("action", String(64), nullable=False),
    Column("target", String(128)),
    Column("subject", String(64)),  # the pseudonym of whom it is about
    Column("outcome", String(16), nullable=False),
    Column("request_id", String(64)),
    Column("detail", JSON, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("signed_with", String(8), nullable=False),  # id of the key that made the hash
    Column("hash", String(64), nullable=False),
    Index("ix_audit_at", "at"),
)

audit_pseudonyms = Table(
    "audit_pseudonyms",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("user", NAME, primary_key=True),
    Column("salt", String(64), nullable=False),  # without it nobody finds the user of a pseudonym again
)
