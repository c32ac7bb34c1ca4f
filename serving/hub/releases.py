"""Releases: a model answers a share of an alias's requests, until it is promoted or rolled back.

All changes of a status are transactions that compare it, and the revision if the caller names one: of two promotions at
once, the second is a `Conflict`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, func, or_, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.config import Managed
from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.canary import Tallies, begun, document_of
from serving.store.errors import Conflict, NotFound
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, build_page, page, require_room
from serving.store.relational.tables import hub_releases

MAX_RELEASES = 10_000
"""Maximum number of releases of a tenant, with those that ended."""

MAX_PAGE = 100

ReleaseStatus = Literal["canary", "paused", "promoted", "rolled_back"]

Change = Literal["pause", "resume", "promote", "rollback"]

EndReason = Literal["requested", "guards", "no_worse", "undecided", "target_missing", "not_managed"]
"""Why a release ended: by request, by the guards, proven to be no worse, undecided after its hours, or since the
configuration has no such model or no managed alias any more.
"""

_CHANGES: Mapping[Change, tuple[tuple[ReleaseStatus, ...], ReleaseStatus]] = {
    "pause": (("canary",), "paused"),
    "resume": (("paused",), "canary"),
    "promote": (("canary", "paused"), "promoted"),
    "rollback": (("canary", "paused", "promoted"), "rolled_back"),
}
"""From which states each change is possible, and where it leads."""

OPEN: tuple[ReleaseStatus, ...] = ("canary", "paused")


@dataclass(frozen=True, slots=True)
class Release:
    """A release. `base` answered before; outcomes up to `judged_until` are counted in `tallies`. `version` is that of
    the hub which the target is, None for a model of the configuration. `gate_override` says why a version was released
    although no `evaluation` of it passed the gate.
    """

    id: str
    tenant: str
    alias: str
    target: str
    version: str | None
    base: str
    share: float
    evaluation: str | None
    gate_override: str | None
    status: ReleaseStatus
    reason: EndReason | Literal[""]
    revision: int
    judged_until: float
    tallies: dict[str, Any]
    created_at: float
    created_by: str | None
    ended_at: float | None

    @property
    def gated(self) -> bool:
        """Whether it may be promoted: a version needs the gate, or somebody who says why not."""
        return self.version is None or self.evaluation is not None or self.gate_override is not None


class Releases:
    """The releases of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        alias: str,
        target: str,
        *,
        managed: Managed,
        share: float,
        evaluation: str | None = None,
        gate_override: str | None = None,
        version: str | None = None,
        usable: Callable[[str], bool],
    ) -> Release:
        """Begins a release; raises `Conflict` if the alias has one, or if the model answers already.

        `usable` tells which models the configuration has for this alias: a promoted one that is gone is not the base.
        """
        at = now()
        async with self._database.write() as connection:
            await lock(connection, "hub_releases", alias)
            if (await connection.execute(select(hub_releases.c.id).where(_open_of(alias)))).first() is not None:
                raise Conflict("a release of this alias is in progress: promote it or roll it back first")
            base = await _base(connection, alias, managed, usable)
            if target == base:
                raise Conflict("this model already answers for the alias")
            row = {
                "id": new_id("roll"),
                "tenant": principal.tenant,
                "alias": alias,
                "target": target,
                "version": version,
                "base": base,
                "share": share,
                "evaluation": evaluation,
                "gate_override": gate_override,
                "status": "canary",
                "reason": "",
                "revision": 1,
                "judged_until": at,
                "tallies": document_of(begun(managed.guards)),
                "created_at": at,
                "created_by": principal.user,
                "ended_at": None,
            }
            await require_room(connection, hub_releases, principal.tenant, MAX_RELEASES, "releases")
            await connection.execute(hub_releases.insert().values(row))
            return await _get(connection, principal, str(row["id"]))

    @uninterrupted
    async def base(self, alias: str, managed: Managed, usable: Callable[[str], bool]) -> str:
        """Returns the model that would be the base of a release that begins now; see `create`."""
        async with self._database.read() as connection:
            return await _base(connection, alias, managed, usable)

    @uninterrupted
    async def changed_between(self, alias: str, start: float, end: float) -> bool:
        """Returns whether a release of an alias, of any tenant, was in progress or ended between two times."""
        of = hub_releases.c
        query = select(of.id).where(
            of.alias == alias, of.created_at <= end, or_(of.ended_at.is_(None), of.ended_at >= start)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query.limit(1))).first() is not None

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Release:
        """Returns the tenant's release; raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, principal, id)

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        alias: str | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[Release]:
        """Returns the tenant's releases, optionally those of one alias."""
        async with self._database.read() as connection:
            found = await page(
                connection,
                select(hub_releases),
                hub_releases,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                within=hub_releases.c.alias == alias if alias is not None else None,
            )
        return build_page(Release, found)

    @uninterrupted
    async def change(
        self,
        principal: Principal,
        id: str,
        change: Change,
        *,
        revision: int | None = None,
        gate_override: str | None = None,
    ) -> Release:
        """Changes a release's status, and stores why it does without the gate if that is given; raises `NotFound`.

        Raises `Conflict` if its status does not allow that, if it has another `revision`, and for the rollback of a
        promoted one that is not the newest of its alias.
        """
        async with self._database.write() as connection:
            release = await _get(connection, principal, id)
            await lock(connection, "hub_releases", release.alias)
            release = await _get(connection, principal, id)
            if revision is not None and release.revision != revision:
                raise Conflict(f"the release now has revision {release.revision}")
            if release.status == "promoted" and change == "rollback":
                await _require_newest(connection, release)
            await _change(connection, release, change, "requested", gate_override)
            return await _get(connection, principal, id)

    @uninterrupted
    async def live(self, aliases: Collection[str]) -> tuple[Sequence[Release], dict[str, Release]]:
        """Returns the releases of aliases that have not ended, and the newest promoted one of each."""
        of = hub_releases.c
        async with self._database.read() as connection:
            rows = await connection.execute(select(hub_releases).where(of.alias.in_(list(aliases)), _is_open()))
            return [build(Release, row) for row in rows.mappings()], await _promoted(connection, aliases)

    @uninterrupted
    async def open(self) -> Sequence[Release]:
        """Returns all releases that have not ended."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(hub_releases).where(_is_open()))
            return [build(Release, row) for row in rows.mappings()]

    @uninterrupted
    async def judge(
        self,
        release: Release,
        until: float,
        tallies: Tallies,
        change: Change | None = None,
        reason: EndReason = "requested",
    ) -> bool:
        """Stores what was counted up to `until`, with the `change` that it causes.

        Returns False if another gateway was first, or the release has changed meanwhile.
        """
        mine = and_(
            hub_releases.c.id == release.id,
            hub_releases.c.revision == release.revision,
            hub_releases.c.judged_until == release.judged_until,
        )
        counts = {"judged_until": until, "tallies": document_of(tallies)}
        async with self._database.write() as connection:
            if (await connection.execute(hub_releases.update().where(mine, _is_open()).values(counts))).rowcount != 1:
                return False
            if change is not None:
                await _change(connection, release, change, reason)
        return True


def _is_open() -> Any:
    return or_(*(hub_releases.c.status == status for status in OPEN))


def _open_of(alias: str) -> Any:
    return and_(hub_releases.c.alias == alias, _is_open())


async def _get(connection: AsyncConnection, principal: Principal, id: str) -> Release:
    mine = (hub_releases.c.id == id, hub_releases.c.tenant == principal.tenant)
    row: RowMapping | None = (await connection.execute(select(hub_releases).where(*mine))).mappings().first()
    if row is None:
        raise NotFound("release", id)
    return build(Release, row)


async def _base(connection: AsyncConnection, alias: str, managed: Managed, usable: Callable[[str], bool]) -> str:
    promoted = (await _promoted(connection, [alias])).get(alias)
    return promoted.target if promoted is not None and usable(promoted.target) else managed.base


async def _promoted(connection: AsyncConnection, aliases: Collection[str]) -> dict[str, Release]:
    """Returns the newest promoted release of each alias."""
    of = hub_releases.c
    these = and_(of.alias.in_(list(aliases)), of.status == "promoted")
    newest = select(of.alias, func.max(of.ended_at).label("at")).where(these).group_by(of.alias).subquery()
    query = (
        select(hub_releases)
        .join(newest, and_(newest.c.alias == of.alias, newest.c.at == of.ended_at))
        .where(of.status == "promoted")
    )
    return {row["alias"]: build(Release, row) for row in (await connection.execute(query)).mappings()}


async def _require_newest(connection: AsyncConnection, release: Release) -> None:
    if (await connection.execute(select(hub_releases.c.id).where(_open_of(release.alias)))).first() is not None:
        raise Conflict("a later release of this alias is in progress: roll that back first")
    newest = (await _promoted(connection, [release.alias])).get(release.alias)
    if newest is None or newest.id != release.id:
        raise Conflict("a later release of this alias was promoted: roll that back instead")


async def _change(
    connection: AsyncConnection, release: Release, change: Change, reason: EndReason, gate_override: str | None = None
) -> None:
    """Changes the status; raises `Conflict` if it is not the expected one any more."""
    before, after = _CHANGES[change]
    of = hub_releases.c
    values: dict[str, Any] = {"status": after, "revision": release.revision + 1}
    if after not in OPEN:
        values |= {"reason": reason, "ended_at": now()}
    if gate_override is not None:
        values["gate_override"] = gate_override
    same = and_(of.id == release.id, of.revision == release.revision, or_(*(of.status == each for each in before)))
    if (await connection.execute(hub_releases.update().where(same).values(values))).rowcount != 1:
        raise Conflict(f"the release is {release.status.replace('_', ' ')}")
