"""Tables of conversations, and of memory."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKey, Index, String, Table, Text, false

from serving.store.relational.tables.base import CHECKED, ID, NAME, Base64, metadata

conversations = Table(
    "conversations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # null: everybody in the tenant, for rows from versions without owners
    Column("metadata", JSON, nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # number of its newest item; never reused
    Column("last_turn", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("title", NAME, nullable=False, server_default=""),  # by default how its first question begins
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("archived", Boolean, nullable=False, server_default=false()),
    Column("last_active_at", Double, nullable=False, server_default="0"),  # when its newest items were added
    Column("item_count", BigInteger, nullable=False, server_default="0"),
    Column("model", NAME),  # the requested one of its newest answer
    Column("forked_from", ID),  # not a foreign key, since it outlives that conversation
    Index("ix_conversations_tenant_created_at", "tenant", "created_at", "id"),
    Index("ix_conversations_last_active_at", "tenant", "user", "last_active_at", "id"),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", ID, nullable=False, unique=True),
    Column("tenant", NAME, nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),  # OpenAI's item without its id; a message's content is a list of typed parts
    Column("created_at", Double, nullable=False),
    Column("checked", CHECKED),
    Column("details", JSON(none_as_null=True)),  # what the caller was told beside an answer
    # Turns are counted only in this table.
    Index("ix_conversation_items_turn", "conversation_id", "turn", "seq", "tenant"),
)

conversation_summaries = Table(
    "conversation_summaries",
    metadata,
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("text", Text, nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # number of the last item in it
    Column("updated_at", Double, nullable=False),
)

memories = Table(
    "memories",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("assistant", NAME, nullable=False),
    Column("text", Text, nullable=False),
    Column("key", String(64), nullable=False),  # SHA-256 of the text, ignoring case: each is stored once
    Column("made_by", String(16), nullable=False),
    Column("conversation_id", ID),  # its origin; not a foreign key, since it outlives the conversation
    Column("created_at", Double, nullable=False),
    Index("uq_memories_key", "tenant", "user", "assistant", "key", unique=True),
    Index("ix_memories_tenant_created_at", "tenant", "user", "created_at", "id"),
)

turn_vectors = Table(
    "turn_vectors",
    metadata,
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("turn", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("assistant", NAME, nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # number of the turn's last item when it was embedded
    Column("embedder", String(64), nullable=False),
    Column("vector", Base64, nullable=False),  # little-endian float16
    Column("created_at", Double, nullable=False),
    Index("ix_turn_vectors_user", "tenant", "user", "assistant", "created_at"),
)
