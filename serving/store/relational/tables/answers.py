"""Answers, what was thought of them, and what may be done once."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from serving.store.relational.tables.base import CHECKED, ID, NAME, Base64, metadata

captures = Table(
    "captures",
    metadata,
    Column("id", ID, primary_key=True),  # the completion's own
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE")),
    Column("item_id", ID, ForeignKey("conversation_items.id", ondelete="SET NULL")),  # the answer in the conversation
    Column("session_id", ID),  # of a response: what it shares with those that it follows and that follow it
    Column("requested", NAME, nullable=False),  # the request's model; what it led to follows
    Column("assistant", NAME),
    Column("alias", NAME, nullable=False),
    Column("model", NAME, nullable=False),
    Column("adapter", NAME),
    Column("prompt_version", String(64)),
    Column("request", JSON, nullable=False),
    Column("prompt", JSON, nullable=False),  # the engine's document, as it was sent
    Column("chunks", JSON, nullable=False),
    Column("answer", JSON, nullable=False),  # a list of choices
    Column("steps", JSON, nullable=False),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("timings", JSON, nullable=False),  # seconds of each stage
    Column("cost", Double),  # the answer has it exactly
    Column("currency", String(3)),  # of the cost: that of the model's price then
    Column("outcome", String(16), nullable=False),
    Column("error_code", String(64)),
    Column("stored", Boolean, nullable=False),  # shown by the API of stored completions
    Column("consent", Boolean, nullable=False),  # may go into exports
    Column("metadata", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_captures_user", "tenant", "user", "stored", "created_at", "id"),
    Index("ix_captures_consent", "tenant", "consent", "created_at", "id"),
    Index("ix_captures_created_at", "created_at"),
    Index("ix_captures_conversation_id", "conversation_id"),
    Index("ix_captures_item_id", "item_id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("id", ID, primary_key=True),  # the caller may choose it
    Column("user", NAME, nullable=False),
    # One of the three is what is rated; with it the rating goes.
    Column("capture_id", ID, ForeignKey("captures.id", ondelete="CASCADE")),
    Column("item_id", ID, ForeignKey("conversation_items.id", ondelete="CASCADE")),
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE")),
    Column("rejected_id", ID, ForeignKey("captures.id", ondelete="CASCADE")),  # capture_id was preferred to it
    Column("thumb", String(4)),
    Column("score", Double),  # 0 to 1
    Column("tags", JSON, nullable=False),
    Column("comment", Text),
    Column("correction", Text),
    Column("consent", Boolean, nullable=False),  # may go into exports
    Column("created_at", Double, nullable=False),
    Index("ix_feedback_user", "tenant", "user", "created_at", "id"),
    Index("ix_feedback_capture_id", "capture_id"),
    Index("ix_feedback_item_id", "item_id"),
    Index("ix_feedback_conversation_id", "conversation_id"),
    Index("ix_feedback_rejected_id", "rejected_id"),
)

responses = Table(
    "responses",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # none: everybody of the tenant, as for what is older than owners
    # What was said before it: another response, or a conversation's items with numbers below `conversation_before`.
    Column("previous_id", ID),
    Column("conversation_id", ID),
    Column("conversation_before", BigInteger),
    Column("session_id", ID, nullable=False),  # the conversation or the first response, also when it is gone
    Column("turns", Integer, nullable=False),  # that begin in it
    Column("body", JSON, nullable=False),  # OpenAI's response object, with its output
    Column("input", JSON, nullable=False),  # OpenAI's items with their ids
    Column("created_at", Double, nullable=False),
    Column("checked", CHECKED),
    Index("ix_responses_previous_id", "previous_id"),
    Index("ix_responses_session_id", "session_id", "created_at"),
)

used_approvals = Table(
    "used_approvals",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of what was signed: the same id can be spelled in many ways
    Column("tenant", NAME, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_used_approvals_expires_at", "expires_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of the tenant, the user and the key that the caller chose
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("fingerprint", String(64), nullable=False),  # SHA-256 of the request
    Column("owner", ID, nullable=False),  # whoever carries the request out
    Column("lease_until", Double),  # none once it is carried out
    Column("made_id", ID),  # of what it made
    Column("created_at", Double, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

idempotency_answers = Table(
    "idempotency_answers",
    metadata,
    Column("key_id", String(64), ForeignKey("idempotency_keys.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("content_type", String(64), nullable=False),
    Column("body", Base64, nullable=False),
    # What the answer tells of; with it the answer goes, and the key stays.
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE")),
    Column("capture_id", ID, ForeignKey("captures.id", ondelete="CASCADE")),
    Column("response_id", ID, ForeignKey("responses.id", ondelete="CASCADE")),
    Column("memory_id", ID, ForeignKey("memories.id", ondelete="CASCADE")),
    Column("feedback_id", ID),
    ForeignKeyConstraint(("tenant", "feedback_id"), ("feedback.tenant", "feedback.id"), ondelete="CASCADE"),
    Index("ix_idempotency_answers_conversation_id", "conversation_id"),
    Index("ix_idempotency_answers_capture_id", "capture_id"),
    Index("ix_idempotency_answers_response_id", "response_id"),
    Index("ix_idempotency_answers_memory_id", "memory_id"),
    Index("ix_idempotency_answers_feedback_id", "tenant", "feedback_id"),
)
