"""Lineage: from which versions and data sets a version was made, and which were made from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.datasets import Dataset, datasets_of
from serving.hub.versions import Version, version_of, versions_of
from serving.store.relational.database import Database
from serving.store.relational.tables import hub_datasets, hub_parents, hub_versions

MOST = 1000
"""Maximum number of versions of one lineage that are returned: the nearest."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """A version's ancestors and descendants, nearest first, and the data sets of all of them and of itself."""

    version: Version
    ancestors: list[Version]
    descendants: list[Version]
    datasets: list[Dataset]


@uninterrupted
async def lineage(database: Database, principal: Principal, id: str) -> Lineage:
    """Returns the lineage of a version of the tenant or raises `NotFound`."""
    async with database.read() as connection:
        version = await version_of(connection, principal, id)
        above = [each for each in await _related(connection, [id], up=True) if each != id][:MOST]
        below = [each for each in await descendants(connection, [id]) if each != id][:MOST]
        rows = (
            (await connection.execute(select(hub_versions).where(hub_versions.c.id.in_([*above, *below]))))
            .mappings()
            .all()
        )
        found = {each.id: each for each in await versions_of(connection, rows)}
        used = {id for each in (version, *found.values()) for id in each.datasets}
        query = select(hub_datasets).where(hub_datasets.c.id.in_(used)).order_by(hub_datasets.c.id)
        datasets = datasets_of((await connection.execute(query)).mappings())
    return Lineage(version, [found[each] for each in above], [found[each] for each in below], datasets)


async def descendants(connection: AsyncConnection, ids: Iterable[str]) -> list[str]:
    """Returns versions with all that were made from them, nearest first."""
    return await _related(connection, ids, up=False)


async def _related(connection: AsyncConnection, ids: Iterable[str], *, up: bool) -> list[str]:
    here, there = (hub_parents.c.version, hub_parents.c.parent)
    if not up:
        here, there = there, here
    found = dict.fromkeys(ids)
    level = list(found)
    while level:
        query = select(there).where(here.in_(level)).distinct().order_by(there)
        level = [each for each in (await connection.execute(query)).scalars() if each not in found]
        found |= dict.fromkeys(level)
    return list(found)
