"""The tables. Every row carries its tenant; times are unix seconds.

A change here needs a migration beside it: a test compares the two.
"""

from __future__ import annotations

import base64
import re

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)

IDS = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SURROGATES = re.compile("[\ud800-\udfff]")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Id(TypeDecorator[str]):
    """An id. What no id can be (a lone surrogate, NUL, a novel) matches no row, instead of failing in the driver."""

    impl = String(64)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or IDS.fullmatch(value) else ""


class Name(TypeDecorator[str]):
    """A name that callers ask by. As `Id`: what no name can be matches no row."""

    impl = String(256)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or ("\0" not in value and not _SURROGATES.search(value)) else ""


class Base64(TypeDecorator[str]):
    """Bytes, which are base 64 outside of the database: a backup's lines are JSON."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else base64.b64decode(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else base64.b64encode(value).decode()


ID = Id()
NAME = String(256)
CHECKED = String(32)
"""Names the guardrails that a text passed when it was said; NULL where none read it."""

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Name(), primary_key=True),  # what `tenant` is everywhere else
    Column("name", NAME, nullable=False),  # for people
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
    # Who it is at an identity provider; none where only keys are used.
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
    Column("first_id", ID),  # of the first of the keys that followed each other up to it; none for the first
    Column("rotated_to", ID),  # the key that follows it
    Index("ix_keys_tenant_created_at", "tenant", "created_at", "id"),
)

files = Table(
    "files",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # none: everybody of the tenant, as for what is older than owners
    Column("filename", NAME, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("kind", String(64), nullable=False),  # content type found by looking at the content
    Column("access", JSON(none_as_null=True)),  # who may read it: see access.py; none for everybody of the tenant
    Column("created_at", Double, nullable=False),
    Index("ix_files_tenant_created_at", "tenant", "created_at", "id"),
)

vector_stores = Table(
    "vector_stores",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # none: everybody of the tenant, as for what is older than owners
    Column("name", NAME, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("access", JSON(none_as_null=True)),  # who may read it: see access.py; none for everybody of the tenant
    Column("created_at", Double, nullable=False),
    Column("last_active_at", Double, nullable=False),
    Index("ix_vector_stores_tenant_created_at", "tenant", "created_at", "id"),
    Index("ix_vector_stores_tenant_name", "tenant", "name"),
)

vector_store_files = Table(
    "vector_store_files",
    metadata,
    Column("vector_store_id", ID, ForeignKey("vector_stores.id"), primary_key=True),
    Column("file_id", ID, ForeignKey("files.id"), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("chunking", JSON, nullable=False),
    Column("usage_bytes", BigInteger, nullable=False),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("job_id", ID, nullable=False),  # the ingestion whose end decides the status
    Column("access", JSON(none_as_null=True)),  # who may read it: see access.py; none for everybody of the tenant
    Column("created_at", Double, nullable=False),
    Index("ix_vector_store_files_file_id", "file_id"),
    Index("ix_vector_store_files_job_id", "job_id"),
)

UNFINISHED = text("status IN ('queued', 'running')")
RUNNING = text("status = 'running'")

jobs = Table(
    "jobs",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", ID, nullable=False, unique=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("run_after", Double, nullable=False),
    Column("lease_owner", NAME),
    Column("lease_until", Double),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("dedupe_key", NAME),
    Column("group_key", String(64)),
    Column("group_item", String(64)),
    Column("lane", String(16), nullable=False, server_default=""),  # see job.py
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index("ix_jobs_tenant_seq", "tenant", "seq"),
    Index("ix_jobs_unfinished", "seq", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index("ix_jobs_waiting", "tenant", "lane", "seq", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index("ix_jobs_running", "lane", "tenant", sqlite_where=RUNNING, postgresql_where=RUNNING),
    Index("ix_jobs_group", "group_key", "seq", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index(
        "uq_jobs_dedupe",
        "tenant",
        "kind",
        "dedupe_key",
        unique=True,
        sqlite_where=UNFINISHED,
        postgresql_where=UNFINISHED,
    ),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", NAME),  # none: everybody of the tenant, as for what is older than owners
    Column("metadata", JSON, nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # number of its newest item; never given again
    Column("last_turn", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_conversations_tenant_created_at", "tenant", "created_at", "id"),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", ID, nullable=False, unique=True),
    Column("tenant", NAME, nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),  # OpenAI's item without its id; what a message says is a list of typed parts
    Column("created_at", Double, nullable=False),
    Column("checked", CHECKED),
    Index("ix_conversation_items_turn", "conversation_id", "turn", "seq", "tenant"),  # turns are counted in it alone
)

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

conversation_summaries = Table(
    "conversation_summaries",
    metadata,
    Column("conversation_id", ID, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("text", Text, nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # number of the last item that it covers
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
    Column("key", String(64), nullable=False),  # SHA-256 of the text, whatever its case: each is there once
    Column("made_by", String(16), nullable=False),
    Column("conversation_id", ID),  # where it was found; no reference, for it outlives the conversation
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

sessions = Table(
    "sessions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # HMAC-SHA256 of the cookie, hexadecimal
    Column("tenant", NAME, nullable=False),
    Column("user", NAME, nullable=False),
    Column("account", String(64), nullable=False),  # the person: what all their sessions spend is one budget's
    Column("issuer", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_sessions_user", "tenant", "user", "created_at"),
    Index("ix_sessions_expires_at", "expires_at"),
    Index("ix_sessions_used_at", "used_at"),
)

quotas = Table(
    "quotas",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of all that follows but the limit
    Column("tenant", NAME, nullable=False),
    Column("subject", String(16), nullable=False),
    Column("subject_id", NAME, nullable=False),
    Column("window", String(16), nullable=False),
    Column("measure", String(16), nullable=False),
    Column("currency", String(3), nullable=False),  # empty for all but money
    Column("limit", BigInteger, nullable=False),  # in units: of money in billionths
    # `platform` or `tenant`. What is older may be either's: it is the platform's, and no tenant lifts it.
    Column("set_by", String(16), nullable=False, server_default="platform"),
    Column("created_at", Double, nullable=False),
    Index("ix_quotas_tenant_created_at", "tenant", "created_at", "id"),
)

quota_windows = Table(
    "quota_windows",
    metadata,
    Column("quota_id", String(64), primary_key=True),  # of a default too, which has no row in quotas
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", NAME, nullable=False),
    Column("taken", BigInteger, nullable=False),  # handed out to gateways and not handed back
    Column("used", BigInteger, nullable=False),  # of that, what is known to be used
    Column("ends_at", Double, nullable=False),
    Index("ix_quota_windows_ends_at", "ends_at"),
)

quota_streams = Table(
    "quota_streams",
    metadata,
    Column("quota_id", String(64), primary_key=True),
    Column("gateway", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("held", BigInteger, nullable=False),  # streams at once that the gateway may have
    Column("lease_until", Double, nullable=False),
    Index("ix_quota_streams_lease_until", "lease_until"),
)

usage = Table(
    "usage",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("user", NAME, primary_key=True),
    Column("key_id", ID, primary_key=True),
    Column("model", NAME, primary_key=True),
    Column("currency", String(3), primary_key=True),  # empty where the cost is not known
    Column("shard", Integer, primary_key=True, autoincrement=False),  # so that writers seldom wait for each other
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),  # in billionths of the currency
)

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

exports = Table(
    "exports",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("folder", Text, nullable=False),  # on the host that wrote it
    Column("salt", String(64), nullable=False),
    Column("people", JSON, nullable=False),  # whose rows it holds, hashed with the salt
    Column("created_at", Double, nullable=False),
    Index("ix_exports_tenant_created_at", "tenant", "created_at", "id"),
)
