"""Responses: one row each, linked into chains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("previous_id", sa.String(length=64), nullable=True),
        sa.Column("conversation_id", sa.String(length=64), nullable=True),
        sa.Column("conversation_before", sa.BigInteger(), nullable=True),
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("input", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_responses")),
    )
    op.create_index("ix_responses_previous_id", "responses", ["previous_id"], unique=False)
    op.create_index("ix_responses_session_id", "responses", ["session_id", "created_at"], unique=False)
    op.add_column("captures", sa.Column("session_id", sa.String(length=64), nullable=True))
    op.create_index("ix_captures_consent", "captures", ["tenant", "consent", "created_at", "id"], unique=False)
