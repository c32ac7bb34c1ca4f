"""File batches of vector stores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

ID = sa.String(64)
NAME = sa.String(256)


def upgrade() -> None:
    op.create_table(
        "file_batches",
        sa.Column("id", ID, nullable=False),
        sa.Column("vector_store_id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("cancelled_at", sa.Double()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file_batches")),
        sa.ForeignKeyConstraint(
            ["vector_store_id"],
            ["vector_stores.id"],
            name=op.f("fk_file_batches_vector_store_id_vector_stores"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_file_batches_vector_store_id", "file_batches", ["vector_store_id"])
    op.create_table(
        "file_batch_files",
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("file_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "file_id", name=op.f("pk_file_batch_files")),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["file_batches.id"],
            name=op.f("fk_file_batch_files_batch_id_file_batches"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_file_batch_files_file_id", "file_batch_files", ["file_id"])
