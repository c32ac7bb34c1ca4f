"""An index of captures by the id of their request: operators look up one request."""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.create_index("ix_captures_request_id", "captures", ["tenant", "request_id", "created_at"])
