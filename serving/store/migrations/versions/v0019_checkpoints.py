"""Checkpoints of apps, with the writes of their next steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

ID = sa.String(64)
NAME = sa.String(256)
TYPE = sa.String(64)


def upgrade() -> None:
    place = [sa.Column(name, NAME, nullable=False) for name in ("tenant", "user", "app", "thread", "namespace")]
    op.create_table(
        "checkpoints",
        *place,
        sa.Column("id", NAME, nullable=False),
        sa.Column("parent", NAME),
        sa.Column("type", TYPE, nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("metadata_type", TYPE, nullable=False),
        sa.Column("metadata", sa.LargeBinary(), nullable=False),
        sa.Column("conversation_id", ID),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "user", "app", "thread", "namespace", "id", name=op.f("pk_checkpoints")),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_checkpoints_conversation_id_conversations"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_checkpoints_conversation_id", "checkpoints", ["conversation_id"])
    op.create_index("ix_checkpoints_created_at", "checkpoints", ["created_at"])
    place = [sa.Column(name, NAME, nullable=False) for name in ("tenant", "user", "app", "thread", "namespace")]
    op.create_table(
        "checkpoint_writes",
        *place,
        sa.Column("checkpoint", NAME, nullable=False),
        sa.Column("task", NAME, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("channel", NAME, nullable=False),
        sa.Column("type", TYPE, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("conversation_id", ID),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            *("tenant", "user", "app", "thread", "namespace", "checkpoint", "task", "place"),
            name=op.f("pk_checkpoint_writes"),
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_checkpoint_writes_conversation_id_conversations"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_checkpoint_writes_conversation_id", "checkpoint_writes", ["conversation_id"])
    op.create_index("ix_checkpoint_writes_created_at", "checkpoint_writes", ["created_at"])
