"""Owners of what had none but a tenant, and access lists. What is there already stays everybody's of its tenant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for table in ("conversations", "responses", "files", "vector_stores"):
        op.add_column(table, sa.Column("user", sa.String(length=256)))
    for table in ("files", "vector_stores", "vector_store_files"):
        op.add_column(table, sa.Column("access", sa.JSON()))
    # A user's own are listed, whatever others of the tenant have.
    op.create_index("ix_captures_user", "captures", ["tenant", "user", "stored", "created_at", "id"])
    op.drop_index("ix_captures_tenant_created_at", "captures")
    op.create_index("ix_feedback_user", "feedback", ["tenant", "user", "created_at", "id"])
    op.drop_index("ix_feedback_tenant_created_at", "feedback")
