"""Who confirmed a key that somebody else made, and who set a webhook."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.add_column("keys", sa.Column("confirmed", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("webhooks", sa.Column("set_by", sa.String(16), server_default="tenant", nullable=False))
    # Only the platform makes private ones; for the others, the audit log says whether the stack's own key made them.
    op.execute(
        "UPDATE webhooks SET set_by = 'platform' WHERE private OR id IN ("
        "SELECT target FROM audit WHERE action = 'webhook.create' AND audit.tenant = webhooks.tenant "
        "AND key_id IN (SELECT id FROM keys WHERE bootstrap))"
    )
