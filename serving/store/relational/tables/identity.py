"""Tables of tenants and users, and of their credentials."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Double, ForeignKey, Index, String, Table, false, true

from serving.store.relational.tables.base import ID, NAME, Name, metadata

tenants = Table(
    "tenants",
    metadata,
    Column("id", Name(), primary_key=True),  # the value of `tenant` in all tables
    Column("name", NAME, nullable=False),  # display name
    Column("created_at", Double, nullable=False),
    Column("disabled_at", Double),
    Index("ix_tenants_created_at", "created_at", "id"),
)

users = Table(
    "users",
    metadata,
    Column("tenant", Name(), ForeignKey("tenants.id"), primary_key=True),
    Column("user", Name(), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("groups", JSON, nullable=False),
    # Identity at a provider; null if only keys are used.
    Column("issuer", String(512)),
    Column("subject", Name()),
    Column("created_at", Double, nullable=False),
    Column("disabled_at", Double),
    Index("ix_users_tenant_created_at", "tenant", "created_at", "user"),
    Index("uq_users_subject", "issuer", "subject", unique=True),
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
    Column("last_used_at", Double),  # to the minute
    Column("first_id", ID),  # id of the first of its predecessors; null for the first
    Column("rotated_to", ID),  # the key that replaces it
    Column("confirmed", Boolean, nullable=False, server_default=true()),  # false: somebody else made it for the user
    Index("ix_keys_tenant_created_at", "tenant", "created_at", "id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # HMAC-SHA256 of the cookie, hexadecimal
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("account", String(64), nullable=False),  # the person: usage of all their sessions counts for one quota
    Column("issuer", String(64), nullable=False),  # empty if it began with an API key
    Column("key_id", ID),  # the API key that it began with, and ends with
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_sessions_user", "tenant", "user", "created_at"),
    Index("ix_sessions_expires_at", "expires_at"),
    Index("ix_sessions_used_at", "used_at"),
)
