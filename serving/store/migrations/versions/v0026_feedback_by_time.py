"""An index of ratings by their time: releases look for new ones every second."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_index("ix_feedback_created_at", "feedback", ["created_at"])
