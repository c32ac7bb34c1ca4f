"""The currency of what a capture cost, and the approvals that were used.

Of captures that are there nobody looks for the currency: their answers name it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("captures", sa.Column("currency", sa.String(length=3)))
    op.create_table(
        "used_approvals",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_used_approvals")),
    )
    op.create_index("ix_used_approvals_expires_at", "used_approvals", ["expires_at"])
