"""Which adapters are live: what replicas must serve, changed by one writer after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.config import AdapterBounds
from serving.core.uninterrupted import finish, uninterrupted
from serving.hub.consents import grantees
from serving.hub.versions import Version
from serving.store.errors import Conflict, InvalidValue, StoreUnavailable
from serving.store.objects.live_adapters import AdapterFile, LiveAdapter, LiveSet, LiveSets, Report
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.tables import hub_versions

LIVE = "live"
"""Name of the lock of a base model's live set."""

LOOK_S = 1.0
"""Interval in seconds of looks at what replicas report."""

Adapters = tuple[LiveAdapter, ...]

log = logging.getLogger("headrace.hub")


def live_name(tenant: str, name: str, number: int) -> str:
    """Returns the model name of a version: no other version ever has it."""
    return f"{tenant}.{name}.{number}"


def live_adapter(version: Version) -> LiveAdapter:
    """Returns the entry of a version, which its own tenant may call; `Live.change` adds those with its consent."""
    return LiveAdapter(
        live_name(version.tenant, version.name, version.number),
        version.id,
        tuple(AdapterFile(each.name, each.bytes, each.sha256) for each in version.artefacts),
        version.rank or 0,
        (version.tenant,),
    )


class Live:
    """The live sets of base models. Replicas and gateways follow them within seconds."""

    def __init__(self, database: Database, sets: LiveSets) -> None:
        self._database = database
        self._sets = sets

    async def read(self, base: str) -> LiveSet:
        """Returns the live set of a base model."""
        return await asyncio.to_thread(self._sets.read, base)

    async def add(self, base: str, bounds: AdapterBounds, adapter: LiveAdapter) -> LiveSet:
        """Makes an adapter live. Raises as `change` does."""
        return await self.change(
            base, bounds, lambda before: (*(each for each in before if each.name != adapter.name), adapter)
        )

    async def remove(self, base: str, names: Collection[str]) -> LiveSet:
        """Ends adapters of a base model; those that are not live are left out."""
        return await self.change(base, None, lambda before: tuple(each for each in before if each.name not in names))

    async def follow_consents(self, base: str) -> LiveSet:
        """Lets those tenants call the adapters of a base model that may now."""
        return await self.change(base, None, lambda before: before)

    @uninterrupted
    async def change(
        self, base: str, bounds: AdapterBounds | None, function: Callable[[Adapters], Adapters]
    ) -> LiveSet:
        """Replaces the live set of a base model by what `function` makes of it, for the tenants that may call each.

        Raises `Conflict` if there would be more adapters than within the bounds, of all tenants or of one that gets
        another, or one whose version is not ready, and `InvalidValue` for one of a higher rank. Without bounds adapters
        can only be removed.
        """
        async with self._database.write() as connection:
            await lock(connection, LIVE, base)
            before = await finish(asyncio.to_thread(self._sets.read, base))
            adapters = await _with_consents(connection, function(before.adapters))
            if adapters == before.adapters:
                return before
            known = {adapter.version for adapter in before.adapters}
            added = [adapter for adapter in adapters if adapter.version not in known]
            if added:
                _check(base, bounds, adapters, added)
                # Locked, so that none of them ends before it is in the set.
                query = select(hub_versions.c.id, hub_versions.c.tenant).where(
                    hub_versions.c.id.in_([adapter.version for adapter in adapters]), hub_versions.c.status == "ready"
                )
                owners = {row.id: row.tenant for row in await connection.execute(query.with_for_update())}
                for adapter in added:
                    if adapter.version not in owners:
                        raise Conflict(f"the version {adapter.version} is not ready")
                _check_tenants(base, bounds, adapters, {owners[adapter.version] for adapter in added}, owners)
            live = LiveSet(before.revision + 1, adapters)
            await finish(asyncio.to_thread(self._sets.write, base, live))
        return live

    async def end(self, bases: Iterable[str]) -> list[str]:
        """Removes the adapters whose version is not ready any more, and returns their names."""
        ended = []
        for base in bases:
            live = await self.read(base)
            gone = await self._ended(live)
            if gone:
                await self.remove(base, gone)
                ended += gone
        return ended

    async def keep_ready(self, bases: Iterable[str]) -> None:
        """Removes the adapters whose version is not ready any more, and logs their number: tenants name them."""
        try:
            ended = await self.end(bases)
        except StoreUnavailable as e:
            log.warning("adapters whose version has ended cannot be removed: %s", e)
        else:
            if ended:
                log.info("%d adapters whose version has ended are no longer live", len(ended))

    @uninterrupted
    async def _ended(self, live: LiveSet) -> list[str]:
        if not live.adapters:
            return []
        versions = [adapter.version for adapter in live.adapters]
        query = select(hub_versions.c.id).where(hub_versions.c.id.in_(versions), hub_versions.c.status == "ready")
        async with self._database.read() as connection:
            ready = set((await connection.execute(query)).scalars())
        return [adapter.name for adapter in live.adapters if adapter.version not in ready]

    async def reports(self, base: str) -> list[Report]:
        """Returns what each replica of a base model says it serves."""
        return await asyncio.to_thread(self._sets.reports, base)

    async def loaded(self, base: str, name: str) -> bool:
        """Returns whether every replica of a base model serves an adapter; without replicas, none does."""
        reports = await self.reports(base)
        return bool(reports) and all(name in report.loaded for report in reports)

    async def unload(self, versions: Collection[str]) -> None:
        """Removes versions from the live sets, and waits until no replica has them any more: last requests may go on
        for as long as a stream may take.
        """
        for base, names in (await self._names(versions)).items():
            live = await self.remove(base, names)
            while True:
                reports = await self.reports(base)
                if not any(_may_serve(report, live.revision, names) for report in reports):
                    break
                await asyncio.sleep(LOOK_S)

    @uninterrupted
    async def _names(self, versions: Collection[str]) -> dict[str, set[str]]:
        """Returns the names of versions, by their base models."""
        of = hub_versions.c
        query = select(of.base, of.tenant, of.name, of.number).where(of.id.in_(list(versions)))
        names: dict[str, set[str]] = {}
        async with self._database.read() as connection:
            for row in await connection.execute(query):
                names.setdefault(row.base, set()).add(live_name(row.tenant, row.name, row.number))
        return names


async def _with_consents(connection: AsyncConnection, adapters: Adapters) -> Adapters:
    """Returns adapters with the tenants that may call them: that of the version, and those with its consent."""
    of = hub_versions.c
    query = select(of.id, of.tenant).where(of.id.in_([adapter.version for adapter in adapters]))
    owners = {row.id: row.tenant for row in await connection.execute(query)}
    others = await grantees(connection, owners)
    return tuple(
        replace(adapter, tenants=tuple(sorted({owners[adapter.version], *others.get(adapter.version, ())})))
        if adapter.version in owners
        else adapter
        for adapter in adapters
    )


def _may_serve(report: Report, revision: int, names: set[str]) -> bool:
    """Returns whether a replica may have one of the adapters, which are not in the set with that revision."""
    return report.revision < revision or not names.isdisjoint((*report.loaded, *report.leaving))


def _check_tenants(
    base: str, bounds: AdapterBounds | None, adapters: Adapters, adding: Collection[str], owners: Mapping[str, str]
) -> None:
    """Raises `Conflict` if a tenant in `adding` would have more adapters than it may; `owners`: tenants by version."""
    if bounds is None or bounds.per_tenant is None:
        return
    counts = Counter(owners.get(adapter.version) for adapter in adapters)
    if any(counts[tenant] > bounds.per_tenant for tenant in adding):
        raise Conflict(
            f"the model {base} serves at most {bounds.per_tenant} adapters of one tenant (adapters.per_tenant)"
        )


def _check(base: str, bounds: AdapterBounds | None, adapters: Adapters, added: Collection[LiveAdapter]) -> None:
    if bounds is None:
        raise Conflict(f"the model {base} takes no adapters: set adapters of the model")
    if len({adapter.name for adapter in adapters}) < len(adapters):
        raise InvalidValue("adapters", "must have different names")
    if len(adapters) > bounds.max:
        raise Conflict(f"the model {base} serves at most {bounds.max} adapters (adapters.max)")
    for adapter in added:
        if adapter.rank > bounds.rank:
            raise InvalidValue("rank", f"must be at most {bounds.rank}, which is adapters.rank of the model {base}")
