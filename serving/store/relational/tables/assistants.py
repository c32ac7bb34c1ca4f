"""Tables of assistants that tenants create, and of their versions."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Double, ForeignKey, Index, Integer, Table

from serving.store.relational.tables.base import ID, NAME, metadata

assistants = Table(
    "assistants",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("version", Integer, nullable=False),  # the active one
    Column("access", JSON(none_as_null=True)),  # who may call it: see access.py; null: everybody in the tenant
    Column("created_at", Double, nullable=False),
    Index("ix_assistants_tenant_created_at", "tenant", "created_at", "id"),
    Index("uq_assistants_name", "tenant", "name", unique=True),
)

assistant_versions = Table(
    "assistant_versions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("assistant_id", ID, ForeignKey("assistants.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("prompt_id", ID),  # of the stored prompt that the settings name; it may have been erased with its owner
    Column("created_at", Double, nullable=False),
    Index("uq_assistant_versions_version", "assistant_id", "version", unique=True),
    Index("ix_assistant_versions_prompt_id", "prompt_id"),
)
