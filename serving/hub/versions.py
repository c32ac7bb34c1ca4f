"""Versions of models and adapters: immutable once they are ready, apart from their card and their end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import func, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.artefacts import Artefact, Artefacts, artefacts_of, with_artefact
from serving.hub.checks import DIGEST, MAX_REASON, checked_name, document, matching, one_of, require_building
from serving.hub.datasets import require_ready_dataset
from serving.hub.names import Kind, Method, VersionStatus
from serving.store import values
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.quotas import Meter
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, page
from serving.store.relational.tables import UNFINISHED, hub_parents, hub_versions, jobs

MAX_PAGE = 100

MAX_PARENTS = 16

RETAIN = "retain"
"""Field of a recipe with the data set of what had to stay."""

MEASURED_FIELD = "measured"
"""Field of a card with what the job that made the version measured, which stays when a suite is run on it."""

OVERRIDES_FIELD = "gate_overrides"
"""Field of a card with the releases that began or were promoted without the gate, which stays too."""

MAX_OVERRIDES = 20
"""Maximum number of these on a card: the newest."""

RATERS_FIELD = "raters"
"""Field of a card with the raters of its rows, which stays too."""

_STAYS = (MEASURED_FIELD, OVERRIDES_FIELD, RATERS_FIELD)


@dataclass(frozen=True, slots=True)
class Version:
    """A version. `bytes` are stored now: none once its artefacts are deleted, whose names and digests stay."""

    id: str
    tenant: str
    name: str
    number: int
    kind: Kind
    status: VersionStatus
    reason: str
    base: str
    base_digest: str
    method: Method
    rank: int | None
    artefacts: tuple[Artefact, ...]
    bytes: int
    recipe: dict[str, Any]
    dataset: str | None
    parents: tuple[str, ...]
    provenance: dict[str, Any]
    card: dict[str, Any] | None
    job: str | None
    created_at: float
    created_by: str | None
    ready_at: float | None
    retired_at: float | None
    deleted_at: float | None

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets whose rows it was trained on: `dataset`, and the one of what had to stay."""
        return tuple(id for id in (self.dataset, self.recipe.get(RETAIN)) if id is not None)


class Versions:
    """The versions of all tenants. Another tenant's version is not found."""

    def __init__(self, database: Database, artefacts: Artefacts) -> None:
        self._database = database
        self._artefacts = artefacts

    @uninterrupted
    async def begin(
        self,
        principal: Principal,
        *,
        name: str,
        kind: Kind,
        base: str,
        base_digest: str,
        method: Method,
        rank: int | None = None,
        recipe: Mapping[str, Any] | None = None,
        dataset: str | None = None,
        parents: Sequence[str] = (),
        provenance: Mapping[str, Any] | None = None,
        card: Mapping[str, Any] | None = None,
        job: str | None = None,
    ) -> Version:
        """Adds the next version of a name, which is `building`.

        Raises `NotFound` for a data set or a parent that does not exist, and `Conflict` for one that is not ready.
        """
        row: dict[str, Any] = {
            "id": new_id("mver"),
            "tenant": principal.tenant,
            "name": checked_name(name),
            "kind": one_of("kind", kind, get_args(Kind)),
            "status": "building",
            "reason": "",
            "base": values.text("base", base, min_length=1),
            "base_digest": matching("base_digest", base_digest, DIGEST, "must have 64 hexadecimal digits"),
            "method": one_of("method", method, get_args(Method)),
            "rank": rank,
            "artefacts": [],
            "bytes": 0,
            "recipe": document("recipe", recipe or {}),
            "dataset": dataset,
            "provenance": document("provenance", provenance or {}),
            "card": document("card", card) if card is not None else None,
            "job": job,
            "created_at": now(),
            "created_by": principal.user,
        }
        if len(set(parents)) > MAX_PARENTS:
            raise InvalidValue("parents", f"must have at most {MAX_PARENTS} members")
        async with self._database.write() as connection:
            await lock(connection, "hub", principal.tenant)
            for used in (dataset, row["recipe"].get(RETAIN)):
                if used is not None:
                    await require_ready_dataset(connection, principal, used)
            for parent in parents:
                if (await _row(connection, principal, parent))["status"] != "ready":
                    raise Conflict("a parent is not ready")
            named = (hub_versions.c.tenant == principal.tenant, hub_versions.c.name == name)
            newest = (await connection.execute(select(func.max(hub_versions.c.number)).where(*named))).scalar()
            await connection.execute(hub_versions.insert().values(row | {"number": (newest or 0) + 1}))
            links = [
                {"version": row["id"], "parent": each, "tenant": principal.tenant} for each in dict.fromkeys(parents)
            ]
            if links:
                await connection.execute(hub_parents.insert(), links)
            return await version_of(connection, principal, row["id"])

    async def add(
        self, principal: Principal, id: str, name: str, file: Path, *, meter: Meter | None = None
    ) -> Artefact:
        """Copies a file as an artefact of a version that is building; one of the same name is replaced.

        Raises `NotFound`, `Conflict` unless it is building, and `QuotaExceeded` if `meter` does.
        """
        await self._building(principal, id)
        artefact = await self._artefacts.write(id, name, file)
        try:
            await self._added(principal, id, artefact, meter)
        except Exception:
            await self._artefacts.remove(id, name)
            raise
        return artefact

    @uninterrupted
    async def _building(self, principal: Principal, id: str) -> Version:
        async with self._database.read() as connection:
            version = await version_of(connection, principal, id)
        require_building(version.status, "version")
        return version

    @uninterrupted
    async def _added(self, principal: Principal, id: str, artefact: Artefact, meter: Meter | None) -> None:
        async with self._database.write() as connection:
            row = await _row(connection, principal, id, locked=True)
            require_building(row["status"], "version")
            kept = with_artefact(row["artefacts"], artefact)
            if meter is not None:
                await connection.run_sync(meter)
            changes = {"artefacts": kept, "bytes": sum(each["bytes"] for each in kept)}
            await connection.execute(hub_versions.update().where(hub_versions.c.id == id).values(changes))

    async def finish(self, principal: Principal, id: str) -> Version:
        """Reads every artefact again, and makes the version `ready`.

        Raises `NotFound`, and `Conflict` unless it is building and complete, and its job, if any, is still wanted.
        """
        version = await self._building(principal, id)
        if not version.artefacts:
            raise Conflict("the version has no artefacts: add some first")
        await self._artefacts.verify(id, version.artefacts)
        return await self._end(principal, id, ("building",), {"status": "ready", "ready_at": now()}, version.artefacts)

    async def reject(self, principal: Principal, id: str, reason: str) -> Version:
        """Ends a version that is building, and deletes its artefacts. Raises `NotFound`, and `Conflict` unless it is
        building.
        """
        ended = {"status": "rejected", "reason": values.storable(reason, MAX_REASON), "bytes": 0, "deleted_at": now()}
        version = await self._end(principal, id, ("building",), ended)
        await self._artefacts.delete(id)
        return version

    async def retire(self, principal: Principal, id: str, reason: str) -> Version:
        """Ends a version that was ready; again does nothing. Its artefacts stay. Raises `NotFound`, and `Conflict` for
        one that never was ready.
        """
        values.text("reason", reason, max_length=MAX_REASON)
        version = await self.get(principal, id)
        if version.status == "retired":
            return version
        return await self._end(principal, id, ("ready",), {"status": "retired", "reason": reason, "retired_at": now()})

    async def delete_artefacts(self, principal: Principal, id: str) -> Version:
        """Deletes the artefacts of a version that is retired; its row stays for the lineage. Raises `NotFound`, and
        `Conflict` unless it is retired or rejected.
        """
        version = await self._end(principal, id, ("retired", "rejected"), {"bytes": 0, "deleted_at": now()})
        await self._artefacts.delete(id)
        return version

    @uninterrupted
    async def _end(
        self,
        principal: Principal,
        id: str,
        before: Sequence[VersionStatus],
        changes: Mapping[str, Any],
        verified: Sequence[Artefact] | None = None,
    ) -> Version:
        async with self._database.write() as connection:
            row = await _row(connection, principal, id, locked=True)
            if row["status"] not in before:
                raise Conflict(f"the version is {row['status']}, not {' or '.join(before)}")
            if verified is not None and artefacts_of(row["artefacts"]) != tuple(verified):
                raise Conflict("an artefact was added meanwhile: finish the version again")
            if verified is not None and row["job"] is not None and not await _is_wanted(connection, row["job"]):
                raise Conflict("its job was cancelled")
            await connection.execute(hub_versions.update().where(hub_versions.c.id == id).values(changes))
            return await version_of(connection, principal, id)

    @uninterrupted
    async def put_card(
        self, principal: Principal, id: str, card: Mapping[str, Any], *, connection: AsyncConnection | None = None
    ) -> None:
        """Replaces the card of a version, but for what its job measured, the raters and the overrides, within the
        caller's transaction when `connection` is given. Raises `NotFound`, and `Conflict` unless it is ready.
        """
        checked = document("card", card)
        async with self._database.write(connection) as connection:
            row = await _row(connection, principal, id, locked=True)
            if row["status"] != "ready":
                raise Conflict(f"the version is {row['status']}, not ready")
            kept = {name: value for name, value in (row["card"] or {}).items() if name in _STAYS}
            await connection.execute(hub_versions.update().where(hub_versions.c.id == id).values(card=checked | kept))

    @uninterrupted
    async def note_override(self, principal: Principal, id: str, override: Mapping[str, Any]) -> None:
        """Adds a release without the gate to the card of a version. Raises `NotFound`."""
        async with self._database.write() as connection:
            card = (await _row(connection, principal, id, locked=True))["card"] or {}
            noted = [*card.get(OVERRIDES_FIELD, ()), dict(override)][-MAX_OVERRIDES:]
            changed = document("card", card | {OVERRIDES_FIELD: noted})
            await connection.execute(hub_versions.update().where(hub_versions.c.id == id).values(card=changed))

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Version:
        """Returns a version of the tenant or raises `NotFound`."""
        async with self._database.read() as connection:
            return await version_of(connection, principal, id)

    @uninterrupted
    async def of_job(self, principal: Principal, job: str) -> Version | None:
        """Returns the version that a job made, if it is ready."""
        of = hub_versions.c
        query = select(hub_versions).where(of.tenant == principal.tenant, of.job == job, of.status == "ready")
        async with self._database.read() as connection:
            found = (await connection.execute(query)).mappings().first()
            return (await versions_of(connection, [found]))[0] if found is not None else None

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        name: str | None = None,
        kind: Kind | None = None,
        status: VersionStatus | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[Version]:
        """Returns the tenant's versions."""
        query = select(hub_versions)
        for column, value in (
            (hub_versions.c.name, name),
            (hub_versions.c.kind, kind),
            (hub_versions.c.status, status),
        ):
            if value is not None:
                query = query.where(column == values.text(column.name, value))
        async with self._database.read() as connection:
            found = await page(
                connection, query, hub_versions, principal, after=after, limit=limit, max_limit=MAX_PAGE, order=order
            )
            return Page(await versions_of(connection, found.items), found.has_more)

    async def artefact(self, principal: Principal, id: str, name: str) -> tuple[Artefact, AsyncIterator[bytes]]:
        """Returns an artefact and its content in chunks; raises `NotFound`, also once it is deleted."""
        version = await self.get(principal, id)
        of = {each.name: each for each in version.artefacts} if version.deleted_at is None else {}
        if name not in of:
            raise NotFound("artefact", name)
        return of[name], await self._artefacts.open(id, name)


async def version_of(connection: AsyncConnection, principal: Principal, id: str) -> Version:
    """Returns a version of the tenant or raises `NotFound`."""
    return (await versions_of(connection, [await _row(connection, principal, id)]))[0]


async def versions_of(connection: AsyncConnection, rows: Sequence[RowMapping]) -> list[Version]:
    """Returns the versions of rows, with their parents."""
    of = hub_parents.c
    query = select(of.version, of.parent).where(of.version.in_([row["id"] for row in rows])).order_by(of.parent)
    parents: dict[str, list[str]] = {}
    for version, parent in await connection.execute(query):
        parents.setdefault(version, []).append(parent)
    return [
        build(Version, row, artefacts=artefacts_of(row["artefacts"]), parents=tuple(parents.get(row["id"], ())))
        for row in rows
    ]


async def _is_wanted(connection: AsyncConnection, job: str) -> bool:
    """Returns whether a job goes on. It then cannot be cancelled until the transaction ends."""
    query = select(jobs.c.cancel_requested).where(jobs.c.id == job, UNFINISHED).with_for_update(read=True)
    return (await connection.execute(query)).scalar() is False


async def _row(connection: AsyncConnection, principal: Principal, id: str, *, locked: bool = False) -> RowMapping:
    query = select(hub_versions).where(hub_versions.c.id == id, hub_versions.c.tenant == principal.tenant)
    row = (await connection.execute(query.with_for_update() if locked else query)).mappings().first()
    if row is None:
        raise NotFound("version", id)
    return row
