"""Indexes of vector stores, for rebuilding one with another embedder."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("vector_stores", sa.Column("indexes", sa.JSON()))
