"""Tables of answers, feedback, used approvals and idempotency keys."""

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
    Column("session_id", ID),  # of a response: shared by all responses in its tree
    Column("requested", NAME, nullable=False),  # the requested model; the following columns are the resolved ones
    Column("assistant", NAME),
    Column("alias", NAME, nullable=False),
    Column("model", NAME, nullable=False),
    Column("adapter", NAME),
    Column("prompt_version", String(64)),
    Column("request", JSON, nullable=False),
    Column("prompt", JSON, nullable=False),  # the request to the engine
    Column("chunks", JSON, nullable=False),
    Column("answer", JSON, nullable=False),  # a list of choices
    Column("steps", JSON, nullable=False),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("timings", JSON, nullable=False),  # seconds of each stage
    Column("cost", Double),  # `answer` has the exact amount
    Column("currency", String(3)),  # of the cost: that of the model's price at the time
    Column("outcome", String(16), nullable=False),
    Column("error_code", String(64)),
    Column("stored", Boolean, nullable=False),  # whether the API of stored completions shows it
    Column("consent", Boolean, nullable=False),  # whether exports may include it
    Column("metadata", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("prompts", JSON(none_as_null=True)),  # the stored prompts in it: who named each, its version and digest
    Index("ix_captures_user", "tenant", "user", "stored", "created_at", "id"),
    Index("ix_captures_consent", "tenant", "consent", "created_at", "id"),
    Index("ix_captures_request_id", "tenant", "request_id", "created_at"),
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
    # One of the three is the target, with which the rating is deleted.
    Column("capture_id", ID, ForeignKey("captures.id", ondelete="CASCADE")),
    Column("item_id", ID, ForeignKey("conversation_items.id", ondelete="CASCADE")),
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE")),
    Column("rejected_id", ID, ForeignKey("captures.id", ondelete="CASCADE")),  # capture_id was preferred to it
    Column("thumb", String(4)),
    Column("score", Double),  # 0 to 1
    Column("tags", JSON, nullable=False),
    Column("comment", Text),
    Column("correction", Text),
    Column("consent", Boolean, nullable=False),  # whether exports may include it
    Column("bytes", BigInteger, nullable=False, server_default="0"),  # of comment and correction
    Column("created_at", Double, nullable=False),
    Index("ix_feedback_user", "tenant", "user", "created_at", "id"),
    Index("ix_feedback_created_at", "created_at"),
    Index("ix_feedback_tenant_created_at", "tenant", "created_at"),
    Index("ix_feedback_capture_id", "capture_id"),
    Index("ix_feedback_item_id", "item_id"),
    Index("ix_feedback_conversation_id", "conversation_id"),
    Index("ix_feedback_rejected_id", "rejected_id"),
    Index("ix_feedback_bytes", "tenant", "user", "bytes"),
)

responses = Table(
    "responses",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # null: everybody in the tenant, for rows from versions without owners
    # Its context: another response, or a conversation's items with numbers below `conversation_before`.
    Column("previous_id", ID),
    Column("conversation_id", ID),
    Column("conversation_before", BigInteger),
    Column("session_id", ID, nullable=False),  # the conversation or the first response, even if deleted
    Column("turns", Integer, nullable=False),  # number of turns that begin in it
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
    Column("id", String(64), primary_key=True),  # SHA-256 of the signed claims: the same id has several encodings
    Column("tenant", NAME, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_used_approvals_expires_at", "expires_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of the tenant, the user and the caller's key
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("fingerprint", String(64), nullable=False),  # SHA-256 of the request
    Column("owner", ID, nullable=False),  # the request that holds it
    Column("lease_until", Double),  # null once it is completed
    Column("made_id", ID),  # of the created object
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
    # The object that the answer describes: its deletion deletes the answer, but not the key.
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
