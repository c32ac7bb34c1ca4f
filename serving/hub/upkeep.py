"""Removes what crashes left in the hub: versions that nobody finishes any more, and files that belong to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import ColumnElement, Table, and_, exists, select

from serving.core.ids import now
from serving.core.principal import worker
from serving.core.uninterrupted import uninterrupted
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import Datasets
from serving.hub.versions import Versions
from serving.store.errors import Conflict, NotFound
from serving.store.relational.database import Database
from serving.store.relational.tables import UNFINISHED, hub_datasets, hub_versions, jobs

LEFT_S = 86_400.0
"""Age after which something unfinished that no job works on is given up."""

LIVE = "live"
"""The folder of what is served now, beside those of versions and data sets."""

ABANDONED = "nobody finished it"


class HubUpkeep:
    """Housekeeping of the hub; several processes may do it at once."""

    def __init__(self, database: Database, artefacts: Artefacts) -> None:
        self._database = database
        self._artefacts = artefacts
        self._versions = Versions(database, artefacts)
        self._datasets = Datasets(database, artefacts)

    async def tidy(self, *, older_than_s: float = LEFT_S) -> None:
        """Ends what is building without a job, and deletes the files of nothing, both only after that time."""
        before = now() - older_than_s
        for tenant, id in await self._abandoned(hub_versions, before):
            with suppress(NotFound, Conflict):  # finished or rejected meanwhile
                await self._versions.reject(worker(tenant, "retention"), id, ABANDONED)
        for tenant, id in await self._abandoned(hub_datasets, before):
            with suppress(NotFound):
                await self._datasets.retire(worker(tenant, "retention"), id, ABANDONED)
        stored = await self._artefacts.written_before(before) - {LIVE}
        for id in stored - await self._keeping(sorted(stored)):
            await self._artefacts.delete(id)

    @uninterrupted
    async def _abandoned(self, table: Table, before: float) -> list[tuple[str, str]]:
        working: ColumnElement[bool] = exists().where(jobs.c.id == table.c.job, UNFINISHED)
        left = and_(table.c.status == "building", table.c.created_at < before, ~working)
        async with self._database.read() as connection:
            return [
                (row.tenant, row.id) for row in await connection.execute(select(table.c.tenant, table.c.id).where(left))
            ]

    @uninterrupted
    async def _keeping(self, ids: Sequence[str]) -> set[str]:
        """Returns which of these ids are of versions and data sets whose files are not deleted."""
        found: set[str] = set()
        async with self._database.read() as connection:
            for table in (hub_versions, hub_datasets):
                query = select(table.c.id).where(table.c.id.in_(ids), table.c.deleted_at.is_(None))
                found.update((await connection.execute(query)).scalars())
        return found
