"""Writers that share a commit, and what a writer that is killed leaves behind."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.conversations import Conversations
from serving.store.errors import NotFound, StoreUnavailable
from serving.store.relational.database import Database
from serving.store.relational.tables import captures, conversation_items, conversations, feedback, meta

sqlite_only = pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)


def add(key: str, error: Exception | None = None):
    def work(connection: Connection) -> str:
        connection.execute(meta.insert().values(key=key, value=""))
        if error is not None:
            raise error
        return key

    return work


@uninterrupted
async def write(database: Database, key: str, error: Exception | None = None) -> str:
    return await database.group_commit(add(key, error))


@uninterrupted
async def keys(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(select(meta.c.key))).scalars()) - {"format"}


async def test_an_error_affects_its_own_writer_only(database: Database) -> None:
    error = NotFound("thing", "x")
    writers = [write(database, f"k{n}", error if n % 3 == 0 else None) for n in range(30)]
    found = await asyncio.gather(*writers, write(database, "k1"), return_exceptions=True)
    assert found[:30] == [error if n % 3 == 0 else f"k{n}" for n in range(30)]
    assert "UNIQUE" in str(found[30]) or "unique" in str(found[30])
    assert await keys(database) == {f"k{n}" for n in range(30) if n % 3}


@sqlite_only
async def test_waiting_writers_share_a_commit(database: Database) -> None:
    commits = Counter[str]()
    engine = database._committing
    assert engine is not None
    event.listen(engine, "commit", lambda connection: commits.update(["commit"]))
    async with database._writing:
        writers = [asyncio.create_task(write(database, f"k{n}")) for n in range(50)]
        while len(database._queue) < 50:
            await asyncio.sleep(0)
    assert await asyncio.gather(*writers) == [f"k{n}" for n in range(50)]
    assert commits["commit"] == 1
    assert len(await keys(database)) == 50


async def test_cancelled_writers_are_committed_without_blocking_others(database: Database) -> None:
    writers = [asyncio.create_task(write(database, f"k{n}")) for n in range(40)]
    await asyncio.sleep(0)
    for writer in writers[::2]:
        writer.cancel()
    found = await asyncio.gather(*writers, return_exceptions=True)
    assert found[1::2] == [f"k{n}" for n in range(1, 40, 2)]
    assert await keys(database) == {f"k{n}" for n in range(40)}
    assert await write(database, "last") == "last"


@sqlite_only
async def test_a_full_disk_fails_the_whole_group_commit(database: Database) -> None:
    store, ada = Conversations(database), Principal(tenant="t", user="ada", key_id="k", scopes=frozenset())
    with closing(sqlite3.connect(str(database.url.database))) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")

    event.listen(database._engine.sync_engine, "connect", limit)
    await database._engine.dispose()  # the bound is the connection's
    large = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 3_000_000}]}]

    async def create() -> None:
        await store.create(ada, items=large)

    async def goes_on() -> None:
        with suppress(Exception):
            await create()
        await store.create(ada, metadata={"left": "over"})
        raise ValueError

    with pytest.raises(StoreUnavailable, match="disk is full"):
        await database.atomically(create)
    with pytest.raises(Exception):  # noqa: B017 (whatever it is)
        await database.atomically(goes_on)
    event.remove(database._engine.sync_engine, "connect", limit)
    await database._engine.dispose()
    with closing(sqlite3.connect(str(database.url.database))) as connection:
        assert connection.execute("SELECT count(*) FROM conversations").fetchone() == (0,)


@sqlite_only
async def test_a_full_disk_undoes_the_whole_batch(database: Database) -> None:
    connection = sqlite3.connect(str(database.url.database))
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    engine = database._committing
    assert engine is not None

    def limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

    event.listen(engine, "begin", limit)
    long = "k" * 60
    acknowledged: set[str] = set()

    async def fill(n: int) -> None:
        for m in range(100):
            acknowledged.add(await write(database, f"{long}{n}.{m}"))

    found = await asyncio.gather(*(fill(n) for n in range(8)), return_exceptions=True)
    assert all(isinstance(e, StoreUnavailable) and "disk is full" in str(e) for e in found)
    assert await keys(database) == acknowledged != set()
    event.remove(engine, "begin", limit)
    engine.dispose()  # the bound is the connection's
    assert await write(database, "room") == "room"


async def test_a_lost_database_fails_all_writers(database: Database) -> None:
    if database.is_sqlite:
        await database.close()
        path = Path(str(database.url.database))
        path.write_bytes(b"\xa5" * path.stat().st_size)
    else:
        database = Database("postgresql://nobody@127.0.0.1:9/none")
    found = await asyncio.gather(*(write(database, f"k{n}") for n in range(5)), return_exceptions=True)
    assert all(isinstance(e, StoreUnavailable) for e in found)
    await database.close()


KILLED = """
import asyncio, sys
from serving.core.principal import Principal
from serving.store.captures import Captures
from serving.store.relational.database import Database
from serving.store.feedback import Rating, Ratings
from tests.store.captures import capture, TURN
async def main():
    alice = Principal("acme", "alice", "key_a")
    conversation = sys.argv[2]
    async with Database(sys.argv[1]) as database:
        captures, ratings = Captures(database), Ratings(database)
        async def client(name):
            while True:
                made = capture(alice, conversation_id=conversation)
                await captures.record(alice, made, turn=(conversation, TURN))
                print("turn", made.id, flush=True)
                rated = await ratings.create(alice, ("response", made.id), Rating(thumb="up"), id=made.id)
                print("rating", rated.id, flush=True)
        await asyncio.gather(*(client(n) for n in range(12)))
asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 20, 150])
async def test_acknowledged_writes_survive_a_kill(url: str, alice: Principal, spawn, after: int) -> None:
    async with Database(url) as database:
        conversation = (await Conversations(database).create(alice)).id
        process = spawn(KILLED, url, conversation)
        lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(after)]
        process.kill()
        # The kill may have cut the last line short: it says nothing yet.
        lines += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        acknowledged = {kind: [x.split()[1] for x in lines if x.startswith(kind)] for kind in ("turn", "rating")}
        assert acknowledged["turn"]
        await _check(database, conversation, acknowledged)


@uninterrupted
async def _check(database: Database, conversation: str, acknowledged: dict[str, list[str]]) -> None:
    """Every acknowledged row is there once, and no turn is there without its capture or the other way round."""
    async with database.read() as connection:
        made = Counter((await connection.execute(select(captures.c.id))).scalars())
        rated = Counter((await connection.execute(select(feedback.c.id))).scalars())
        answers = Counter((await connection.execute(select(captures.c.item_id))).scalars())
        items = (await connection.execute(select(conversation_items.c.id, conversation_items.c.seq))).all()
        last = (await connection.execute(select(conversations.c.last_seq))).scalar_one()
    assert all(made[id] == 1 for id in acknowledged["turn"])
    assert all(rated[id] == 1 for id in acknowledged["rating"])
    assert sorted(item.seq for item in items) == list(range(1, last + 1))
    assert answers == Counter(item.id for item in items if item.seq % 2 == 0)
