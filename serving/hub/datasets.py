"""Data sets: the rows that versions are trained on, immutable once they are ready, and whose data they contain."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.artefacts import Artefact, Artefacts, artefacts_of, with_artefact
from serving.hub.checks import DIGEST, MAX_REASON, document, matching, require_building
from serving.store import values
from serving.store.errors import Conflict, NotFound
from serving.store.quotas import Meter
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, page
from serving.store.relational.tables import hub_dataset_people, hub_datasets

DatasetStatus = Literal["building", "ready", "retired"]

MAX_PAGE = 100


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set. `digest` identifies its rows; `bytes` are stored now: none once its files are deleted."""

    id: str
    tenant: str
    format: str
    status: DatasetStatus
    reason: str
    digest: str
    manifest: dict[str, Any]
    counts: dict[str, Any]
    files: tuple[Artefact, ...]
    bytes: int
    job: str | None
    created_at: float
    created_by: str | None
    ready_at: float | None
    retired_at: float | None
    deleted_at: float | None


class Datasets:
    """The data sets of all tenants. Another tenant's data set is not found."""

    def __init__(self, database: Database, artefacts: Artefacts) -> None:
        self._database = database
        self._artefacts = artefacts

    @uninterrupted
    async def begin(
        self, principal: Principal, *, format: str, job: str | None = None, manifest: Mapping[str, Any] | None = None
    ) -> Dataset:
        """Adds a data set, which is `building`: rows may be read for it from now on."""
        row = {
            "id": new_id("dset"),
            "tenant": principal.tenant,
            "format": values.text("format", format, max_length=32, min_length=1),
            "status": "building",
            "reason": "",
            "digest": "",
            "manifest": dict(manifest or {}),
            "counts": {},
            "files": [],
            "bytes": 0,
            "job": job,
            "created_at": now(),
            "created_by": principal.user,
        }
        async with self._database.write() as connection:
            await connection.execute(hub_datasets.insert().values(row))
            return await _one(connection, principal, str(row["id"]))

    async def add(
        self, principal: Principal, id: str, name: str, file: Path, *, meter: Meter | None = None
    ) -> Artefact:
        """Copies a file into a data set that is building; one of the same name is replaced.

        Raises `NotFound`, `Conflict` unless it is building, and `QuotaExceeded` if `meter` does.
        """
        require_building((await self.get(principal, id)).status, "data set")
        artefact = await self._artefacts.write(id, name, file)
        try:
            await self._added(principal, id, artefact, meter)
        except Exception:
            await self._artefacts.remove(id, name)
            raise
        return artefact

    @uninterrupted
    async def _added(self, principal: Principal, id: str, artefact: Artefact, meter: Meter | None) -> None:
        async with self._database.write() as connection:
            row = await _row(connection, principal, id, locked=True)
            require_building(row["status"], "data set")
            kept = with_artefact(row["files"], artefact)
            if meter is not None:
                await connection.run_sync(meter)
            changes = {"files": kept, "bytes": sum(each["bytes"] for each in kept)}
            await connection.execute(hub_datasets.update().where(hub_datasets.c.id == id).values(changes))

    async def finish(
        self,
        principal: Principal,
        id: str,
        *,
        digest: str,
        manifest: Mapping[str, Any],
        counts: Mapping[str, Any],
        people: Collection[str],
    ) -> Dataset:
        """Reads every file again, records the users whose data it contains, and makes the data set `ready`.

        Raises `NotFound`, and `Conflict` unless it is building and complete: an erasure ends data sets that are
        building, since they may contain the data of the person.
        """
        found = await self.get(principal, id)
        require_building(found.status, "data set")
        if not found.files:
            raise Conflict("the data set has no files: add some first")
        await self._artefacts.verify(id, found.files)
        changes = {
            "status": "ready",
            "ready_at": now(),
            "digest": matching("digest", digest, DIGEST, "must have 64 hexadecimal digits"),
            "manifest": document("manifest", manifest),
            "counts": document("counts", counts),
        }
        return await self._ready(principal, id, found.files, changes, people)

    @uninterrupted
    async def _ready(
        self,
        principal: Principal,
        id: str,
        verified: tuple[Artefact, ...],
        changes: Mapping[str, Any],
        people: Collection[str],
    ) -> Dataset:
        links = [{"dataset": id, "tenant": principal.tenant, "user": user} for user in sorted(set(people))]
        async with self._database.write() as connection:
            # An erasure finds every data set either building, or with its people.
            await lock(connection, "hub", principal.tenant)
            row = await _row(connection, principal, id, locked=True)
            require_building(row["status"], "data set")
            if artefacts_of(row["files"]) != verified:
                raise Conflict("a file was added meanwhile: finish the data set again")
            await connection.execute(hub_datasets.update().where(hub_datasets.c.id == id).values(changes))
            if links:
                await connection.execute(hub_dataset_people.insert(), links)
            return await _one(connection, principal, id)

    async def retire(self, principal: Principal, id: str, reason: str) -> Dataset:
        """Ends a data set and deletes its files; versions made of it stay. Raises `NotFound`."""
        ended = await self._retire(principal, id, values.storable(reason, MAX_REASON))
        await self._artefacts.delete(id)
        return ended

    @uninterrupted
    async def _retire(self, principal: Principal, id: str, reason: str) -> Dataset:
        at = now()
        changes = {"status": "retired", "reason": reason, "retired_at": at, "bytes": 0, "deleted_at": at}
        async with self._database.write() as connection:
            row = await _row(connection, principal, id, locked=True)
            if row["status"] != "retired":
                await connection.execute(hub_datasets.update().where(hub_datasets.c.id == id).values(changes))
            return await _one(connection, principal, id)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Dataset:
        """Returns a data set of the tenant or raises `NotFound`."""
        async with self._database.read() as connection:
            return await _one(connection, principal, id)

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        status: DatasetStatus | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[Dataset]:
        """Returns the tenant's data sets."""
        query = select(hub_datasets)
        if status is not None:
            query = query.where(hub_datasets.c.status == status)
        async with self._database.read() as connection:
            found = await page(
                connection, query, hub_datasets, principal, after=after, limit=limit, max_limit=MAX_PAGE, order=order
            )
        return Page(datasets_of(found.items), found.has_more)


async def end_building(connection: AsyncConnection, id: str, reason: str) -> None:
    """Retires a data set if it is building, in the transaction that ends its job. Its files are deleted later."""
    at = now()
    changes = {"reason": values.storable(reason, MAX_REASON), "retired_at": at, "bytes": 0, "deleted_at": at}
    building = hub_datasets.update().where(hub_datasets.c.id == id, hub_datasets.c.status == "building")
    await connection.execute(building.values(status="retired", **changes))


async def require_ready_dataset(connection: AsyncConnection, principal: Principal, id: str) -> None:
    """Raises `NotFound`, and `Conflict` for a data set that is not ready."""
    if (status := (await _row(connection, principal, id))["status"]) != "ready":
        raise Conflict(f"the data set is {status}, not ready")


async def _row(connection: AsyncConnection, principal: Principal, id: str, *, locked: bool = False) -> RowMapping:
    query = select(hub_datasets).where(hub_datasets.c.id == id, hub_datasets.c.tenant == principal.tenant)
    row = (await connection.execute(query.with_for_update() if locked else query)).mappings().first()
    if row is None:
        raise NotFound("data set", id)
    return row


async def _one(connection: AsyncConnection, principal: Principal, id: str) -> Dataset:
    return datasets_of([await _row(connection, principal, id)])[0]


def datasets_of(rows: Iterable[RowMapping]) -> list[Dataset]:
    """Returns the data sets of rows."""
    return [build(Dataset, row, files=artefacts_of(row["files"])) for row in rows]
