"""Versions of the hub that releases serve."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.add_column("hub_releases", sa.Column("version", sa.String(64)))
