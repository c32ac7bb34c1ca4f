"""Which other tenants may use a version of the model hub."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.create_table(
        "hub_consents",
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("grantee", sa.String(256), nullable=False),
        sa.Column("tenant", sa.String(256), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(256)),
        sa.Column("revoked_at", sa.Double()),
        sa.PrimaryKeyConstraint("version", "grantee", name=op.f("pk_hub_consents")),
        sa.ForeignKeyConstraint(
            ["version"], ["hub_versions.id"], name=op.f("fk_hub_consents_version_hub_versions"), ondelete="CASCADE"
        ),
    )
