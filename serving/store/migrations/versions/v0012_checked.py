"""Which guardrails what was said has passed: of what is there already nobody knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for table in ("conversation_items", "responses"):
        op.add_column(table, sa.Column("checked", sa.String(length=32)))
