"""The size of what grows without files: answers of batches, ratings, and queued work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"

_ON_POSTGRESQL = (
    "UPDATE feedback SET bytes = coalesce(octet_length(comment), 0) + coalesce(octet_length(correction), 0)"
)

_ON_SQLITE = """UPDATE feedback
SET bytes = coalesce(length(CAST(comment AS BLOB)), 0) + coalesce(length(CAST(correction AS BLOB)), 0)"""


def upgrade() -> None:
    for table, column in (("batches", "answer_bytes"), ("feedback", "bytes"), ("jobs", "bytes"), ("jobs", "tokens")):
        op.add_column(table, sa.Column(column, sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(_ON_POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _ON_SQLITE)
    op.create_index("ix_feedback_bytes", "feedback", ["tenant", "user", "bytes"])
