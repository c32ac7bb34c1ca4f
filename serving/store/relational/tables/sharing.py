"""Table of shared conversations."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, ForeignKey, Index, Table

from serving.store.relational.tables.base import ID, NAME, metadata

shares = Table(
    "shares",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),  # who shares it
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # number of the last item that is shared
    Column("sources", JSON, nullable=False),  # what its answers were made from, and from which item on
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_shares_tenant_user_created_at_id", "tenant", "user", "created_at", "id"),
    Index("ix_shares_conversation_id", "conversation_id"),
    Index("ix_shares_expires_at", "expires_at"),
)
