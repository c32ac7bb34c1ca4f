"""Counts of a tenant's ratings in a span of days."""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.create_index("ix_feedback_tenant_created_at", "feedback", ["tenant", "created_at"])
