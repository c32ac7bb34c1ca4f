"""What a caller was told beside an answer in a conversation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("conversation_items", sa.Column("details", sa.JSON()))
