"""Suites, evaluations and releases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

ID = sa.String(64)
NAME = sa.String(256)
OPEN = sa.text("status IN ('canary', 'paused')")


def upgrade() -> None:
    op.create_table(
        "hub_suites",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("prompts", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", NAME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hub_suites")),
    )
    op.create_index("ix_hub_suites_tenant_created_at", "hub_suites", ["tenant", "created_at", "id"])
    op.create_index("uq_hub_suites_digest", "hub_suites", ["tenant", "name", "digest"], unique=True)
    op.create_table(
        "hub_evaluations",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("suite", ID, nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("against", NAME),
        sa.Column("version", ID),
        sa.Column("caller", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("card", sa.JSON()),
        sa.Column("job", ID, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", NAME),
        sa.Column("ended_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hub_evaluations")),
        sa.ForeignKeyConstraint(["suite"], ["hub_suites.id"], name=op.f("fk_hub_evaluations_suite_hub_suites")),
    )
    op.create_index("ix_hub_evaluations_tenant_created_at", "hub_evaluations", ["tenant", "created_at", "id"])
    op.create_index("ix_hub_evaluations_suite", "hub_evaluations", ["suite"])
    op.create_table(
        "hub_scores",
        sa.Column("evaluation", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("score", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("evaluation", "number", name=op.f("pk_hub_scores")),
        sa.ForeignKeyConstraint(
            ["evaluation"],
            ["hub_evaluations.id"],
            name=op.f("fk_hub_scores_evaluation_hub_evaluations"),
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "hub_releases",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("alias", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("base", NAME, nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("evaluation", ID),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("judged_until", sa.Double(), nullable=False),
        sa.Column("tallies", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", NAME),
        sa.Column("ended_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hub_releases")),
    )
    op.create_index("ix_hub_releases_tenant_created_at", "hub_releases", ["tenant", "created_at", "id"])
    op.create_index("ix_hub_releases_alias", "hub_releases", ["alias", "status", "ended_at"])
    op.create_index(
        "uq_hub_releases_open", "hub_releases", ["alias"], unique=True, sqlite_where=OPEN, postgresql_where=OPEN
    )
