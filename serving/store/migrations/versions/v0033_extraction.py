"""How much of a file's text is in its chunks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.add_column("vector_store_files", sa.Column("extraction", sa.JSON(none_as_null=True)))
