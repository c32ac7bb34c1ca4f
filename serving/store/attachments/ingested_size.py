"""The size in the index of a file that is being ingested: it counts as stored before it is."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import case, func, select
from sqlalchemy.engine import Connection

from serving.core.ids import now
from serving.core.uninterrupted import uninterrupted
from serving.quotas.quota import Quota
from serving.store.quotas import meter, total_stored
from serving.store.relational.database import Database
from serving.store.relational.tables import files, vector_store_files


class IngestedSizes:
    """Holds ingestions to quotas of stored bytes. `job_id` is the ingestion's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def room(self, job_id: str, quotas: Sequence[Quota]) -> tuple[int, Quota] | None:
        """Returns how many bytes the file may take in the index, and the quota that says so; None without one."""

        def work(connection: Connection) -> tuple[int, Quota] | None:
            counted = _counted(connection, job_id)
            rooms = [(each.limit - total_stored(connection, each), each) for each in quotas]
            left, tightest = min(rooms, key=lambda room: room[0])
            return max(left, 0) + counted, tightest

        return await self._database.query(work) if quotas else None

    @uninterrupted
    async def record(self, job_id: str, size: int, quotas: Sequence[Quota]) -> None:
        """Counts `size` bytes for the file from now on. Raises `QuotaExceeded` if it would grow beyond a quota; then
        it counts as before.
        """

        def work(connection: Connection) -> None:
            grows = size > _counted(connection, job_id)
            of = vector_store_files.c
            mine = of.job_id == job_id, of.status == "in_progress"
            connection.execute(vector_store_files.update().where(*mine).values(usage_bytes=size))
            if grows:
                meter([(each, 0) for each in quotas], now())(connection)

        async with self._database.write() as connection:
            await connection.run_sync(work)


def _counted(connection: Connection, job_id: str) -> int:
    """Returns the bytes that the ingested file counts now in its vector store, as `total_stored` does."""
    of = vector_store_files.c
    size = func.coalesce(files.c.bytes, 0)
    query = select(case((size > of.usage_bytes, size), else_=of.usage_bytes)).select_from(vector_store_files)
    query = query.outerjoin(files, files.c.id == of.file_id)
    return int(connection.execute(query.where(of.job_id == job_id, of.status == "in_progress")).scalar() or 0)
