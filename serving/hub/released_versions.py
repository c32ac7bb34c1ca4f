"""Keeps the versions that releases need live, and withdraws those that they need no more.

Needed are the version of a release in progress, the promoted one, and the one before it if nothing is in progress:
a rollback sends requests there at once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial

from sqlalchemy import or_, select
from sqlalchemy.engine import RowMapping

from serving.config import AdapterBounds, Catalog
from serving.core.ids import now
from serving.core.principal import worker
from serving.core.uninterrupted import uninterrupted
from serving.hub.live import LIVE, Live, live_adapter
from serving.hub.releases import OPEN
from serving.hub.versions import Version, Versions
from serving.store.errors import Conflict, InvalidValue, NotFound, StoreUnavailable
from serving.store.objects.live_adapters import LiveSet
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.tables import hub_releases

WITHDRAW_AFTER_S = 5.0
"""Time after the end of a release in which its version stays live: other gateways may not know of the end yet."""

_ALIVE = (*OPEN, "promoted")

log = logging.getLogger("headrace.hub")

Bounds = Mapping[str, AdapterBounds]


class ReleasedVersions:
    """The versions that releases of this gateway's managed aliases have named."""

    def __init__(self, database: Database, versions: Versions, live: Live) -> None:
        self._database = database
        self._versions = versions
        self._live = live
        self._aliases: frozenset[str] = frozenset()

    def configure(self, catalog: Catalog) -> None:
        """Takes a new catalogue. Versions of aliases that it does not manage stay as they are."""
        self._aliases = frozenset(alias.name for alias in catalog.aliases if alias.managed is not None)

    async def serve(self, version: Version, bounds: Bounds) -> None:
        """Makes a version live for a release, in place of one that only a rollback would have needed.

        The caller's transaction has the release already: until it ends, nobody settles the base's versions. Raises
        `Conflict` if the base takes no adapters, or no more of them, and `InvalidValue` for the version's rank.
        """
        if version.base not in bounds:
            raise Conflict(f"the model {version.base} takes no adapters: its configuration needs adapters")
        await self._database.atomically(partial(self._serve, version, bounds[version.base]))

    async def _serve(self, version: Version, bounds: AdapterBounds) -> None:
        async with self._database.write() as connection:
            await lock(connection, LIVE, version.base)
            releases = await self._releases()
            leaving = {release["version"] for release in releases} - _needed(releases) | {version.id}
            adapter = live_adapter(version)
            await self._live.change(
                version.base,
                bounds,
                lambda before: (*(each for each in before if each.version not in leaving), adapter),
            )

    async def needed(self) -> set[str]:
        """Returns the versions that releases need."""
        return _needed(await self._releases())

    async def keep(self, bounds: Bounds) -> None:
        """Settles, and logs if that is not possible now."""
        try:
            await self.settle(bounds)
        except StoreUnavailable as e:
            log.warning("the versions of releases cannot be made live: %s", e)

    async def settle(self, bounds: Bounds) -> None:
        """Makes live what releases need, as far as it is ready, and withdraws what they need no more."""
        releases = await self._releases() if bounds else ()
        if not any(release["version"] for release in releases):
            return
        missing = _needed(releases)
        for base in bounds:
            live = await self._live.read(base)
            missing -= {each.version for each in live.adapters}
            if _unneeded(live, releases):
                await self._database.atomically(partial(self._withdraw, base))
        tenants = {release["version"]: release["tenant"] for release in releases}
        for id in sorted(missing):
            await self._add(tenants[id], id, bounds)

    async def _withdraw(self, base: str) -> None:
        """Withdraws what is not needed, while no release can begin to need it."""
        async with self._database.write() as connection:
            await lock(connection, LIVE, base)
            names = _unneeded(await self._live.read(base), await self._releases())
            await self._live.remove(base, names)

    async def _add(self, tenant: str, id: str, bounds: Bounds) -> None:
        """Makes a version live. If it has ended, or there is no room for it, the base answers."""
        with suppress(NotFound, Conflict, InvalidValue):
            version = await self._versions.get(worker(tenant, "releases"), id)
            allowed = bounds.get(version.base)
            if allowed is None or version.status != "ready":
                return
            # Looked at first: this is tried again and again, and a change locks the live set.
            if len((await self._live.read(version.base)).adapters) < allowed.max:
                await self._live.add(version.base, allowed, live_adapter(version))

    @uninterrupted
    async def _releases(self) -> Sequence[RowMapping]:
        """Returns the releases that decide what is needed, the newest end first."""
        of = hub_releases.c
        query = (
            select(of.tenant, of.alias, of.version, of.status, of.ended_at)
            .where(of.alias.in_(self._aliases), or_(of.version.is_not(None), of.status.in_(_ALIVE)))
            .order_by(of.ended_at.desc(), of.id)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).mappings().all()


def _unneeded(live: LiveSet, releases: Sequence[RowMapping]) -> list[str]:
    """Returns the names of the live versions that only ended releases named, and none that ended just now."""
    since = now() - WITHDRAW_AFTER_S
    ended = {release["version"] for release in releases if (release["ended_at"] or 0) <= since}
    ended -= {release["version"] for release in releases if (release["ended_at"] or 0) > since}
    ended -= _needed(releases)
    return [each.name for each in live.adapters if each.version in ended]


def _needed(releases: Sequence[RowMapping]) -> set[str]:
    """Returns the versions that releases need."""
    found: set[str] = set()
    for alias in {release["alias"] for release in releases}:
        these = [release for release in releases if release["alias"] == alias]
        opened = _versions(these, OPEN)
        found.update(opened, _versions(these, ("promoted",))[: 1 if opened else 2])
    return found - {""}


def _versions(releases: Sequence[RowMapping], statuses: Collection[str]) -> list[str]:
    """Returns the versions of the releases with one of these statuses; empty for a model of the configuration."""
    return [release["version"] or "" for release in releases if release["status"] in statuses]
