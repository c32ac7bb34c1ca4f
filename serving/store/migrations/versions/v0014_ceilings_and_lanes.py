"""Who set a quota, and the lane of a job.

A quota that is there may be the platform's or a tenant's: it counts as the platform's, which no tenant lifts.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

UNFINISHED = sa.text("status IN ('queued', 'running')")
RUNNING = sa.text("status = 'running'")


def upgrade() -> None:
    op.add_column("quotas", sa.Column("set_by", sa.String(length=16), nullable=False, server_default="platform"))
    op.add_column("jobs", sa.Column("lane", sa.String(length=16), nullable=False, server_default=""))
    op.create_index(
        "ix_jobs_waiting", "jobs", ["tenant", "lane", "seq"], sqlite_where=UNFINISHED, postgresql_where=UNFINISHED
    )
    op.create_index("ix_jobs_running", "jobs", ["lane", "tenant"], sqlite_where=RUNNING, postgresql_where=RUNNING)
    lane = sa.table("jobs", sa.column("lane"), sa.column("kind"), sa.column("status"))
    erasures = lane.c.kind.in_(("erase_user", "compact_database")) & lane.c.status.in_(("queued", "running"))
    op.execute(lane.update().where(erasures).values(lane="erasure"))
