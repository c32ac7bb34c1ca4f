"""The schema of the first release.

Its number is the one that this schema had during development, so that existing databases and backups stay valid.
Earlier numbers were never released and cannot be upgraded.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = None

Type = sa.types.TypeEngine[Any]

ID = sa.String(64)  # also of digests and codes
NAME = sa.String(256)
WORD = sa.String(16)
CURRENCY = sa.String(3)
COUNT = sa.BigInteger()
TIME: Type = sa.Double()
JSON = sa.JSON()
TEXT = sa.Text()


def upgrade() -> None:
    _table("meta", *_required(key=ID, value=TEXT), key=["key"])
    _identity()
    _files()
    _jobs()
    _conversations()
    _captures()
    _memory()
    _idempotency()
    _quotas()
    _audit()


def _identity() -> None:
    """Tenants and users, including the stack's own, and their credentials."""
    _table("tenants", *_required(id=NAME, name=NAME, created_at=TIME), *_optional(disabled_at=TIME))
    _table(
        "users",
        *_required(tenant=NAME, user=NAME, role=WORD, groups=JSON),
        *_optional(issuer=sa.String(512), subject=NAME),
        *_required(created_at=TIME),
        *_optional(disabled_at=TIME),
        _references("users", "tenant", "tenants"),
        key=["tenant", "user"],
    )
    _table(
        "keys",
        *_required(id=ID, hash=ID, tenant=NAME, user=NAME, name=NAME, scopes=JSON),
        sa.Column("bootstrap", sa.Boolean(), server_default=sa.false(), nullable=False),
        *_required(created_at=TIME),
        *_optional(expires_at=TIME, revoked_at=TIME, last_used_at=TIME, first_id=ID, rotated_to=ID),
        _unique("keys", "hash"),
    )
    _table(
        "sessions",
        *_required(id=ID, hash=ID, tenant=NAME, user=NAME, account=ID, issuer=ID),
        *_required(created_at=TIME, used_at=TIME, expires_at=TIME),
        _unique("sessions", "hash"),
    )
    _table("used_approvals", *_required(id=ID, tenant=NAME, expires_at=TIME))
    op.create_index("ix_tenants_created_at", "tenants", ["created_at", "id"])
    op.create_index("ix_users_tenant_created_at", "users", ["tenant", "created_at", "user"])
    op.create_index("uq_users_subject", "users", ["issuer", "subject"], unique=True)
    op.create_index("ix_keys_tenant_created_at", "keys", ["tenant", "created_at", "id"])
    op.create_index("ix_sessions_user", "sessions", ["tenant", "user", "created_at"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_index("ix_sessions_used_at", "sessions", ["used_at"])
    op.create_index("ix_used_approvals_expires_at", "used_approvals", ["expires_at"])
    at = time.time()
    tenants = sa.table("tenants", *_required(id=NAME, name=NAME, created_at=TIME))
    users = sa.table("users", *_required(tenant=NAME, user=NAME, role=WORD, groups=JSON, created_at=TIME))
    op.bulk_insert(tenants, [{"id": "default", "name": "default", "created_at": at}])
    op.bulk_insert(users, [{"tenant": "default", "user": "admin", "role": "admin", "groups": [], "created_at": at}])


def _files() -> None:
    """Uploaded files, and vector stores with their files."""
    _table(
        "files",
        *_required(id=ID, tenant=NAME, filename=NAME, purpose=ID, status=WORD, bytes=COUNT, sha256=ID, kind=ID),
        *_required(created_at=TIME),
        *_optional(user=NAME, access=JSON),
    )
    _table(
        "vector_stores",
        *_required(id=ID, tenant=NAME, name=NAME, metadata=JSON, created_at=TIME, last_active_at=TIME),
        *_optional(user=NAME, access=JSON),
    )
    _table(
        "vector_store_files",
        *_required(vector_store_id=ID, file_id=ID, tenant=NAME, status=WORD, attributes=JSON, chunking=JSON),
        *_required(usage_bytes=COUNT),
        *_optional(error_code=ID, error_message=TEXT),
        *_required(job_id=ID, created_at=TIME),
        *_optional(access=JSON),
        _references("vector_store_files", "file_id", "files"),
        _references("vector_store_files", "vector_store_id", "vector_stores"),
        key=["vector_store_id", "file_id"],
    )
    op.create_index("ix_files_tenant_created_at", "files", ["tenant", "created_at", "id"])
    op.create_index("ix_vector_stores_tenant_created_at", "vector_stores", ["tenant", "created_at", "id"])
    op.create_index("ix_vector_stores_tenant_name", "vector_stores", ["tenant", "name"])
    op.create_index("ix_vector_store_files_file_id", "vector_store_files", ["file_id"])
    op.create_index("ix_vector_store_files_job_id", "vector_store_files", ["job_id"])


def _jobs() -> None:
    """Background jobs. Claimable ones are found by partial indexes, however many jobs have ended."""
    _table(
        "jobs",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        *_required(id=ID, tenant=NAME, user=NAME, kind=ID, payload=JSON, status=WORD),
        *_required(attempts=sa.Integer(), max_attempts=sa.Integer(), run_after=TIME),
        *_optional(lease_owner=NAME, lease_until=TIME),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        *_required(done=COUNT, total=COUNT, message=TEXT),
        *_optional(result=JSON, error_code=ID, error_message=TEXT, dedupe_key=NAME, group_key=ID, group_item=ID),
        *_required(created_at=TIME),
        *_optional(started_at=TIME, finished_at=TIME),
        sa.Column("lane", WORD, server_default="", nullable=False),
        _unique("jobs", "id"),
        key=["seq"],
    )
    op.create_index("ix_jobs_tenant_seq", "jobs", ["tenant", "seq"])
    unfinished, running = (_where(f"status {s}") for s in ("IN ('queued', 'running')", "= 'running'"))
    op.create_index("ix_jobs_unfinished", "jobs", ["seq"], **unfinished)
    op.create_index("ix_jobs_waiting", "jobs", ["tenant", "lane", "seq"], **unfinished)
    op.create_index("ix_jobs_running", "jobs", ["lane", "tenant"], **running)
    op.create_index("ix_jobs_group", "jobs", ["group_key", "seq"], **unfinished)
    op.create_index("uq_jobs_dedupe", "jobs", ["tenant", "kind", "dedupe_key"], unique=True, **unfinished)


def _conversations() -> None:
    """Conversations with their items, and responses."""
    _table(
        "conversations",
        *_required(id=ID, tenant=NAME, metadata=JSON, last_seq=COUNT, last_turn=COUNT, created_at=TIME),
        *_optional(user=NAME),
    )
    _table(
        "conversation_items",
        *_required(conversation_id=ID, seq=COUNT, id=ID, tenant=NAME, turn=COUNT, body=JSON, created_at=TIME),
        *_optional(checked=sa.String(32)),
        _references("conversation_items", "conversation_id", "conversations", "CASCADE"),
        _unique("conversation_items", "id"),
        key=["conversation_id", "seq"],
    )
    _table(
        "responses",
        *_required(id=ID, tenant=NAME),
        *_optional(previous_id=ID, conversation_id=ID, conversation_before=COUNT),
        *_required(session_id=ID, turns=sa.Integer(), body=JSON, input=JSON, created_at=TIME),
        *_optional(user=NAME, checked=sa.String(32)),
    )
    op.create_index("ix_conversations_tenant_created_at", "conversations", ["tenant", "created_at", "id"])
    op.create_index("ix_conversation_items_turn", "conversation_items", ["conversation_id", "turn", "seq", "tenant"])
    op.create_index("ix_responses_previous_id", "responses", ["previous_id"])
    op.create_index("ix_responses_session_id", "responses", ["session_id", "created_at"])


def _captures() -> None:
    """Captures of answers, feedback on them, and exports of both."""
    _table(
        "captures",
        *_required(id=ID, tenant=NAME, user=NAME, request_id=ID),
        *_optional(conversation_id=ID, item_id=ID),
        *_required(requested=NAME),
        *_optional(assistant=NAME),
        *_required(alias=NAME, model=NAME),
        *_optional(adapter=NAME, prompt_version=ID),
        *_required(request=JSON, prompt=JSON, chunks=JSON, answer=JSON, steps=JSON),
        *_optional(prompt_tokens=COUNT, completion_tokens=COUNT),
        *_required(timings=JSON),
        *_optional(cost=sa.Double()),
        *_required(outcome=WORD),
        *_optional(error_code=ID),
        *_required(stored=sa.Boolean(), consent=sa.Boolean(), metadata=JSON, created_at=TIME),
        *_optional(session_id=ID, currency=CURRENCY),
        _references("captures", "conversation_id", "conversations", "CASCADE"),
        _references("captures", "item_id", "conversation_items", "SET NULL"),
    )
    _table(
        "feedback",
        *_required(tenant=NAME, id=ID, user=NAME),
        *_optional(
            capture_id=ID, item_id=ID, conversation_id=ID, rejected_id=ID, thumb=sa.String(4), score=sa.Double()
        ),
        *_required(tags=JSON),
        *_optional(comment=TEXT, correction=TEXT),
        *_required(consent=sa.Boolean(), created_at=TIME),
        _references("feedback", "capture_id", "captures", "CASCADE"),
        _references("feedback", "conversation_id", "conversations", "CASCADE"),
        _references("feedback", "item_id", "conversation_items", "CASCADE"),
        _references("feedback", "rejected_id", "captures", "CASCADE"),
        key=["tenant", "id"],
    )
    _table("exports", *_required(id=ID, tenant=NAME, folder=TEXT, salt=ID, people=JSON, created_at=TIME))
    op.create_index("ix_captures_user", "captures", ["tenant", "user", "stored", "created_at", "id"])
    op.create_index("ix_captures_consent", "captures", ["tenant", "consent", "created_at", "id"])
    op.create_index("ix_feedback_user", "feedback", ["tenant", "user", "created_at", "id"])
    op.create_index("ix_exports_tenant_created_at", "exports", ["tenant", "created_at", "id"])
    for column in ("created_at", "conversation_id", "item_id"):
        op.create_index(f"ix_captures_{column}", "captures", [column])
    for column in ("capture_id", "item_id", "conversation_id", "rejected_id"):
        op.create_index(f"ix_feedback_{column}", "feedback", [column])


def _memory() -> None:
    """State of memory: summaries, facts, and vectors of turns."""
    _table(
        "conversation_summaries",
        *_required(conversation_id=ID, tenant=NAME, text=TEXT, last_seq=COUNT, updated_at=TIME),
        _references("conversation_summaries", "conversation_id", "conversations", "CASCADE"),
        key=["conversation_id"],
    )
    _table(
        "memories",
        *_required(id=ID, tenant=NAME, user=NAME, assistant=NAME, text=TEXT, key=ID, made_by=WORD),
        *_optional(conversation_id=ID),
        *_required(created_at=TIME),
    )
    _table(
        "turn_vectors",
        *_required(conversation_id=ID, turn=COUNT, tenant=NAME, user=NAME, assistant=NAME, last_seq=COUNT),
        *_required(embedder=ID, vector=sa.LargeBinary(), created_at=TIME),
        _references("turn_vectors", "conversation_id", "conversations", "CASCADE"),
        key=["conversation_id", "turn"],
    )
    op.create_index("uq_memories_key", "memories", ["tenant", "user", "assistant", "key"], unique=True)
    op.create_index("ix_memories_tenant_created_at", "memories", ["tenant", "user", "created_at", "id"])
    op.create_index("ix_turn_vectors_user", "turn_vectors", ["tenant", "user", "assistant", "created_at"])


def _idempotency() -> None:
    """Idempotency keys with stored answers, which are deleted with the objects that they describe."""
    told_of = {"conversation": "conversations", "capture": "captures", "response": "responses", "memory": "memories"}
    answers = "idempotency_answers"
    _table(
        "idempotency_keys",
        *_required(id=ID, tenant=NAME, user=NAME, fingerprint=ID, owner=ID),
        *_optional(lease_until=TIME, made_id=ID),
        *_required(created_at=TIME),
    )
    _table(
        answers,
        *_required(key_id=ID, tenant=NAME, content_type=ID, body=sa.LargeBinary()),
        *_optional(conversation_id=ID, capture_id=ID, response_id=ID, memory_id=ID, feedback_id=ID),
        _references(answers, "key_id", "idempotency_keys", "CASCADE"),
        *(_references(answers, f"{one}_id", table, "CASCADE") for one, table in told_of.items()),
        sa.ForeignKeyConstraint(
            ["tenant", "feedback_id"],
            ["feedback.tenant", "feedback.id"],
            name=op.f("fk_idempotency_answers_tenant_feedback_id_feedback"),
            ondelete="CASCADE",
        ),
        key=["key_id"],
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    for one in told_of:
        op.create_index(f"ix_idempotency_answers_{one}_id", answers, [f"{one}_id"])
    op.create_index("ix_idempotency_answers_feedback_id", answers, ["tenant", "feedback_id"])


def _quotas() -> None:
    """Quotas, their windows and shares, and usage."""
    _table(
        "quotas",
        *_required(id=ID, tenant=NAME, subject=WORD, subject_id=NAME, window=WORD, measure=WORD, currency=CURRENCY),
        *_required(limit=COUNT, created_at=TIME),
        sa.Column("set_by", WORD, server_default="platform", nullable=False),
    )
    _table(
        "quota_windows",
        *_required(quota_id=ID, start=COUNT, tenant=NAME, taken=COUNT, used=COUNT, ends_at=TIME),
        key=["quota_id", "start"],
    )
    _table(
        "quota_streams",
        *_required(quota_id=ID, gateway=ID, tenant=NAME, held=COUNT, lease_until=TIME),
        key=["quota_id", "gateway"],
    )
    _table(
        "usage",
        *_required(tenant=NAME, day=sa.String(10), user=NAME, key_id=ID, model=NAME, currency=CURRENCY),
        *_required(shard=sa.Integer(), requests=COUNT, prompt_tokens=COUNT, completion_tokens=COUNT, cost=COUNT),
        key=["tenant", "day", "user", "key_id", "model", "currency", "shard"],
    )
    op.create_index("ix_quotas_tenant_created_at", "quotas", ["tenant", "created_at", "id"])
    op.create_index("ix_quota_windows_ends_at", "quota_windows", ["ends_at"])
    op.create_index("ix_quota_streams_lease_until", "quota_streams", ["lease_until"])


_SQLITE = """
CREATE TRIGGER audit_no_{operation} BEFORE {operation} ON audit
WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'audit_unlocked')
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END
"""
_FUNCTION = """
CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM meta WHERE key = 'audit_unlocked') THEN
        RAISE EXCEPTION 'the audit log only grows' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        RETURN NEW;
    END IF;
    RETURN OLD;
END $$
"""


def _audit() -> None:
    """The audit log, which is append-only, and the salts of its pseudonyms."""
    _table(
        "audit",
        *_required(tenant=NAME, seq=COUNT, at=COUNT),
        *_optional(actor=ID, key_id=ID),
        *_required(action=ID),
        *_optional(target=sa.String(128), subject=ID),
        *_required(outcome=WORD),
        *_optional(request_id=ID),
        *_required(detail=JSON, previous=ID, signed_with=sa.String(8), hash=ID),
        key=["tenant", "seq"],
    )
    _table("audit_pseudonyms", *_required(tenant=NAME, user=NAME, salt=ID), key=["tenant", "user"])
    op.create_index("ix_audit_at", "audit", ["at"])
    if op.get_bind().dialect.name == "sqlite":
        for operation in ("UPDATE", "DELETE"):
            op.execute(_SQLITE.format(operation=operation))
        return
    op.execute(_FUNCTION)
    each = "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW"
    whole = "CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT"
    for trigger in (each, whole):
        op.execute(f"{trigger} EXECUTE FUNCTION audit_only_grows()")


def _table(name: str, *parts: sa.schema.SchemaItem, key: list[str] | None = None) -> None:
    """Creates a table, whose primary key is `id` by default."""
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*(key or ["id"]), name=op.f(f"pk_{name}")))


def _required(**types: Type) -> list[sa.Column[Any]]:
    return [sa.Column(name, type, nullable=False, autoincrement=False) for name, type in types.items()]


def _optional(**types: Type) -> list[sa.Column[Any]]:
    return [sa.Column(name, type) for name, type in types.items()]


def _references(table: str, column: str, other: str, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete=ondelete)


def _unique(table: str, column: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(column, name=op.f(f"uq_{table}_{column}"))


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
