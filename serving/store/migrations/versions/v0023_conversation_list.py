"""What a list of conversations shows of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    for column in (
        sa.Column("title", sa.String(256), nullable=False, server_default=""),
        sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("last_active_at", sa.Double(), nullable=False, server_default="0"),
        sa.Column("item_count", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("model", sa.String(256)),
        sa.Column("forked_from", sa.String(64)),
    ):
        op.add_column("conversations", column)
    op.execute(
        "UPDATE conversations SET last_active_at = COALESCE("
        "(SELECT max(created_at) FROM conversation_items WHERE conversation_id = conversations.id), created_at), "
        "item_count = (SELECT count(*) FROM conversation_items WHERE conversation_id = conversations.id)"
    )
    op.create_index("ix_conversations_last_active_at", "conversations", ["tenant", "user", "last_active_at", "id"])
