"""Indexes of the audit log by actor and by target: people read their own receipts of deletions."""

from __future__ import annotations

from alembic import op

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    for column in ("actor", "target"):
        op.create_index(f"ix_audit_{column}", "audit", ["tenant", column, "seq"])
