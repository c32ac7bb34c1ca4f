"""Indexes of what counts in quotas beside files, answers of batches under way, and events that webhooks missed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"

_BATCHES = sa.text("answer_bytes > 0")
_JOBS = sa.text("bytes > 0 AND status IN ('queued', 'running')")


_AROUND = len(
    '{"id":"batch_req_","custom_id":"","response":{"status_code":200,"request_id":"","body":},"error":null}\n'
)
"""Bytes of a line of an output file without its two ids, the id of its request, and its answer."""

_ID = 32


_BATCH = sa.table("batches", sa.column("id"), sa.column("status"), sa.column("answer_bytes"))
_LINE = sa.table("batch_lines", sa.column("batch_id"), sa.column("request_id"), sa.column("body"))


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    body = (
        sa.func.octet_length(_LINE.c.body) if on_postgresql else sa.func.length(sa.cast(_LINE.c.body, sa.LargeBinary))
    )
    # Without the lines' `custom_id`, which is not stored: batches that were counted from their beginning keep more.
    line = body + sa.func.length(_LINE.c.request_id) + _AROUND + _ID
    lines = sa.select(sa.func.coalesce(sa.func.sum(line), 0)).where(_LINE.c.batch_id == _BATCH.c.id).scalar_subquery()
    under_way = _BATCH.c.status.in_(("validating", "in_progress", "finalizing", "cancelling"))
    op.execute(sa.update(_BATCH).where(under_way, _BATCH.c.answer_bytes < lines).values(answer_bytes=lines))
    op.create_index(
        "ix_batches_answer_bytes",
        "batches",
        ["tenant", "user", "answer_bytes"],
        sqlite_where=_BATCHES,
        postgresql_where=_BATCHES,
    )
    op.create_index("ix_jobs_bytes", "jobs", ["tenant", "user", "bytes"], sqlite_where=_JOBS, postgresql_where=_JOBS)
    op.add_column("webhooks", sa.Column("not_sent", sa.BigInteger(), nullable=False, server_default="0"))
