"""Versions of models and adapters, and the data sets of their training."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

ID = sa.String(64)
NAME = sa.String(256)


def upgrade() -> None:
    op.create_table(
        "hub_datasets",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("job", ID),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", NAME),
        sa.Column("ready_at", sa.Double()),
        sa.Column("retired_at", sa.Double()),
        sa.Column("deleted_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hub_datasets")),
    )
    op.create_index("ix_hub_datasets_tenant_created_at", "hub_datasets", ["tenant", "created_at", "id"])
    op.create_table(
        "hub_dataset_people",
        sa.Column("dataset", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("user", NAME, nullable=False),
        sa.PrimaryKeyConstraint("dataset", "user", name=op.f("pk_hub_dataset_people")),
        sa.ForeignKeyConstraint(
            ["dataset"],
            ["hub_datasets.id"],
            name=op.f("fk_hub_dataset_people_dataset_hub_datasets"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_hub_dataset_people_tenant_user", "hub_dataset_people", ["tenant", "user"])
    op.create_table(
        "hub_versions",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("base", NAME, nullable=False),
        sa.Column("base_digest", sa.String(64), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("rank", sa.Integer()),
        sa.Column("artefacts", sa.JSON(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("dataset", ID),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("card", sa.JSON()),
        sa.Column("job", ID),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", NAME),
        sa.Column("ready_at", sa.Double()),
        sa.Column("retired_at", sa.Double()),
        sa.Column("deleted_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hub_versions")),
        sa.ForeignKeyConstraint(["dataset"], ["hub_datasets.id"], name=op.f("fk_hub_versions_dataset_hub_datasets")),
    )
    op.create_index("ix_hub_versions_tenant_created_at", "hub_versions", ["tenant", "created_at", "id"])
    op.create_index("ix_hub_versions_dataset", "hub_versions", ["dataset"])
    op.create_index("uq_hub_versions_number", "hub_versions", ["tenant", "name", "number"], unique=True)
    op.create_table(
        "hub_parents",
        sa.Column("version", ID, nullable=False),
        sa.Column("parent", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.PrimaryKeyConstraint("version", "parent", name=op.f("pk_hub_parents")),
        sa.ForeignKeyConstraint(
            ["version"], ["hub_versions.id"], name=op.f("fk_hub_parents_version_hub_versions"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["parent"], ["hub_versions.id"], name=op.f("fk_hub_parents_parent_hub_versions")),
    )
    op.create_index("ix_hub_parents_parent", "hub_parents", ["parent"])
