"""What an evaluation compared, and why a release did without one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.add_column("hub_evaluations", sa.Column("weights", sa.JSON(none_as_null=True)))
    op.add_column("hub_releases", sa.Column("gate_override", sa.Text()))
