"""Tables of prompts that tenants store, of their versions, and of the labels on versions."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Double, ForeignKey, Index, Integer, String, Table, Text

from serving.store.relational.tables.base import ID, NAME, metadata

prompts = Table(
    "prompts",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),  # its owner
    Column("name", NAME, nullable=False),
    Column("description", Text, nullable=False),
    Column("version", Integer, nullable=False),  # the newest one
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("ix_prompts_tenant_created_at", "tenant", "created_at", "id"),
    Index("uq_prompts_name", "tenant", "name", unique=True),
)

prompt_versions = Table(
    "prompt_versions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # its author; null after the author was erased, if another user owns the prompt
    Column("prompt_id", ID, ForeignKey("prompts.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("variables", JSON, nullable=False),  # names
    Column("sha256", String(64), nullable=False),  # of the text
    Column("by_operator", Boolean, nullable=False),  # whether its author had the role operator or admin
    Column("trusted", Boolean, nullable=False),  # whether the author's key was trusted with instructions
    Column("created_at", Double, nullable=False),
    Index("uq_prompt_versions_version", "prompt_id", "version", unique=True),
    Index("ix_prompt_versions_user", "tenant", "user"),
)

prompt_labels = Table(
    "prompt_labels",
    metadata,
    Column("prompt_id", ID, ForeignKey("prompts.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Double, nullable=False),
)
