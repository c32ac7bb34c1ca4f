"""Tables of apps' checkpoints."""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, String, Table

from serving.store.relational.tables.base import ID, NAME, Base64, Name, metadata

TYPE = String(64)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("user", NAME, primary_key=True),
    Column("app", NAME, primary_key=True),
    Column("thread", Name(), primary_key=True),
    Column("namespace", Name(), primary_key=True),
    Column("id", Name(), primary_key=True),  # later ones sort later
    Column("parent", NAME),
    Column("type", TYPE, nullable=False),  # of the serialised state
    Column("state", Base64, nullable=False),
    Column("metadata_type", TYPE, nullable=False),
    Column("metadata", Base64, nullable=False),
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE")),  # the owner of the thread
    Column("created_at", Double, nullable=False),
    Index("ix_checkpoints_conversation_id", "conversation_id"),
    Index("ix_checkpoints_created_at", "created_at"),
)

checkpoint_writes = Table(
    "checkpoint_writes",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("user", NAME, primary_key=True),
    Column("app", NAME, primary_key=True),
    Column("thread", Name(), primary_key=True),
    Column("namespace", Name(), primary_key=True),
    Column("checkpoint", Name(), primary_key=True),
    Column("task", Name(), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),  # index among a task's writes
    Column("channel", NAME, nullable=False),
    Column("type", TYPE, nullable=False),
    Column("value", Base64, nullable=False),
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE")),
    Column("created_at", Double, nullable=False),
    Index("ix_checkpoint_writes_conversation_id", "conversation_id"),
    Index("ix_checkpoint_writes_created_at", "created_at"),
)
"""Writes of a step's nodes, before all of them have finished."""
