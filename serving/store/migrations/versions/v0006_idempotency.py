"""Keys by which requests are repeated, and the answers that are kept for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TOLD_OF = {
    "conversation_id": "conversations",
    "capture_id": "captures",
    "response_id": "responses",
    "memory_id": "memories",
}


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("user", sa.String(length=256), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("made_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "idempotency_answers",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("content_type", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        *(sa.Column(column, sa.String(length=64), nullable=True) for column in (*_TOLD_OF, "feedback_id")),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["idempotency_keys.id"],
            name=op.f("fk_idempotency_answers_key_id_idempotency_keys"),
            ondelete="CASCADE",
        ),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{table}.id"], name=op.f(f"fk_idempotency_answers_{column}_{table}"), ondelete="CASCADE"
            )
            for column, table in _TOLD_OF.items()
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "feedback_id"],
            ["feedback.tenant", "feedback.id"],
            name=op.f("fk_idempotency_answers_tenant_feedback_id_feedback"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_idempotency_answers")),
    )
    for column in _TOLD_OF:
        op.create_index(f"ix_idempotency_answers_{column}", "idempotency_answers", [column])
    op.create_index("ix_idempotency_answers_feedback_id", "idempotency_answers", ["tenant", "feedback_id"])
