"""Pauses of background work, during which indexes and file contents do not change, so that a backup is consistent.

Only jobs change an index or delete a content. Requests continue: their jobs wait in the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import StoreUnavailable
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.tables import jobs, meta

KEY = "paused"
"""The row of `meta` with the id and the end of the pause: `<id> <unix time>`."""

LEASE_S = 60.0
"""Time after which a pause ends whose holder died."""


async def active(connection: AsyncConnection, *, claiming: bool = False) -> bool:
    """Returns whether work is paused. With `claiming`, no pause can begin before the end of the transaction."""
    if claiming:
        await lock(connection, KEY, shared=True)
    value = (await connection.execute(select(meta.c.value).where(meta.c.key == KEY))).scalar()
    return value is not None and float(value.split()[1]) > now()


@asynccontextmanager
async def paused(
    database: Database, *, patience_s: float, say: Callable[[str], None], poll_s: float = 0.5
) -> AsyncIterator[Callable[[], None]]:
    """Prevents workers from claiming jobs, and begins once no job runs.

    Yields a function that raises `StoreUnavailable` when the pause was lost: call it before relying on the copied data.
    Raises `StoreUnavailable` when jobs still run after `patience_s`, or when there is a pause already.
    """
    id = new_id("pause")
    await _begin(database, id)
    holding = asyncio.create_task(_hold(database, id))
    try:
        await _quiet(database, patience_s, say, poll_s)

        def still() -> None:
            if holding.done():
                raise StoreUnavailable(
                    "background work resumed during the backup: the database could not be reached in time"
                )

        yield still
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        with suppress(StoreUnavailable):  # it ends by itself
            await _end(database, id)


@uninterrupted
async def _begin(database: Database, id: str) -> None:
    async with database.write() as connection:
        await lock(connection, KEY)  # concurrent claims have been committed
        if await active(connection):
            raise StoreUnavailable("another backup or restore is under way: wait for it")
        await connection.execute(meta.delete().where(meta.c.key == KEY))
        await connection.execute(meta.insert().values(key=KEY, value=f"{id} {now() + LEASE_S}"))


async def _hold(database: Database, id: str) -> None:
    """Renews the pause, and ends when that failed for too long or another process took it."""
    until = time.monotonic() + LEASE_S
    while time.monotonic() < until:
        await asyncio.sleep(LEASE_S / 6)
        with suppress(StoreUnavailable):
            began = time.monotonic()
            if not await _extend(database, id):
                return
            until = began + LEASE_S


@uninterrupted
async def _extend(database: Database, id: str) -> bool:
    async with database.write() as connection:
        mine = and_(meta.c.key == KEY, meta.c.value.startswith(f"{id} ", autoescape=True))
        return (
            await connection.execute(meta.update().where(mine).values(value=f"{id} {now() + LEASE_S}"))
        ).rowcount == 1


@uninterrupted
async def _end(database: Database, id: str) -> None:
    async with database.write() as connection:
        mine = and_(meta.c.key == KEY, meta.c.value.startswith(f"{id} ", autoescape=True))
        await connection.execute(meta.delete().where(mine))


async def _quiet(database: Database, patience_s: float, say: Callable[[str], None], poll_s: float) -> None:
    """Waits until no job runs; a job whose lease expired has no worker."""
    deadline = time.monotonic() + patience_s
    said = 0
    while running := await _running(database):
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"{running} jobs still run after {patience_s:.0f} s: try again, or raise --patience")
        if running != said:
            say(f"waiting for {running} running jobs to end")
            said = running
        await asyncio.sleep(poll_s)


@uninterrupted
async def _running(database: Database) -> int:
    query = select(func.count()).where(jobs.c.status == "running", jobs.c.lease_until > now())
    async with database.read() as connection:
        return int((await connection.execute(query)).scalar_one())
