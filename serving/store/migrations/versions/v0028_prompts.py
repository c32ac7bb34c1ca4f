"""Prompts with versions and labels, which assistants may name, and which captures record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

ID = sa.String(64)
NAME = sa.String(256)


def upgrade() -> None:
    op.create_table(
        "prompts",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("user", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
    )
    op.create_index("ix_prompts_tenant_created_at", "prompts", ["tenant", "created_at", "id"])
    op.create_index("uq_prompts_name", "prompts", ["tenant", "name"], unique=True)
    op.create_table(
        "prompt_versions",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("user", NAME),
        sa.Column("prompt_id", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("variables", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("by_operator", sa.Boolean(), nullable=False),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt_versions")),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name=op.f("fk_prompt_versions_prompt_id_prompts"), ondelete="CASCADE"
        ),
    )
    op.create_index("uq_prompt_versions_version", "prompt_versions", ["prompt_id", "version"], unique=True)
    op.create_index("ix_prompt_versions_user", "prompt_versions", ["tenant", "user"])
    op.create_table(
        "prompt_labels",
        sa.Column("prompt_id", ID, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("prompt_id", "name", name=op.f("pk_prompt_labels")),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name=op.f("fk_prompt_labels_prompt_id_prompts"), ondelete="CASCADE"
        ),
    )
    op.add_column("assistant_versions", sa.Column("prompt_id", ID))
    op.create_index("ix_assistant_versions_prompt_id", "assistant_versions", ["prompt_id"])
    op.add_column("captures", sa.Column("prompts", sa.JSON()))
