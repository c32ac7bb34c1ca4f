from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, make_url

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.conversations import Conversations
from serving.store.errors import InvalidValue, StoreUnavailable
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.sqlite import prepare

sqlite_only = pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """One that each test migrates itself."""
    return new_url()


def path_of(database: Database) -> Path:
    return Path(str(database.url.database))


@sqlite_only
@uninterrupted
async def test_sqlite_has_the_durable_settings(database: Database) -> None:
    async with database.write() as connection:
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


@sqlite_only
async def test_file_is_private(database: Database) -> None:
    assert path_of(database).stat().st_mode & 0o777 == 0o600


async def test_file_behind_a_link_is_private(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "disk" / "real.db")
    prepare(make_url(f"sqlite:///{tmp_path}/link.db"))
    assert (tmp_path / "disk" / "real.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_memory_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue, match="must name a file"):
        Database(url)


def test_password_stays_out_of_repr() -> None:
    assert "geheim" not in repr(Database("postgresql://user:geheim@db/headrace"))


@sqlite_only
async def test_a_database_that_cannot_be_opened_leaves_no_thread(url: str) -> None:
    # A thread that answers after the loop is closed prints a traceback over the last line of `python -m serving.store`.
    before = set(threading.enumerate())
    database = Database(url)  # in a folder that does not exist
    with pytest.raises(StoreUnavailable, match="check that its folder exists"):
        await database.require_current()
    with pytest.raises(StoreUnavailable, match="check that its folder exists"):
        await database.check()
    await database.close()
    new = [thread.name for thread in set(threading.enumerate()) - before]
    assert [name for name in new if name.endswith("(_connection_worker_thread)")] == []


@sqlite_only
async def test_unmigrated_database_is_not_ready(url: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    database = Database(url)
    with pytest.raises(StoreUnavailable, match="migrat"):
        await database.check()
    await database.close()


@sqlite_only
async def test_garbage_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "headrace.db"
    file.write_bytes(b"this is no database, but long enough to look at. " * 100)
    database = Database(url)
    with pytest.raises(StoreUnavailable, match=r"headrace\.db.*damaged.*restore it from a backup"):
        await database.migrate()
    await database.close()


@sqlite_only
async def test_damaged_page_is_named(database: Database, url: str, alice: Principal) -> None:
    jobs = Jobs(database)
    for _ in range(50):
        await jobs.enqueue(alice, "work", {"text": "x" * 1000})
    file = path_of(database)
    await database.close()
    size = file.stat().st_size
    with file.open("r+b") as f:  # the header stays, every table behind it is lost
        f.seek(4096)
        f.write(b"\xa5" * (size - 4096))
    damaged = Database(url)
    with pytest.raises(StoreUnavailable, match="damaged: restore it from a backup"):
        await Jobs(damaged).list(alice)
    await damaged.close()


async def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(f"sqlite:///{tmp_path}/file/headrace.db")
    with pytest.raises(StoreUnavailable):
        await database.migrate()
    await database.close()


@sqlite_only
async def test_full_disk_keeps_what_was_acknowledged(database: Database, alice: Principal) -> None:
    jobs = Jobs(database)
    connection = sqlite3.connect(path_of(database))
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()

    @event.listens_for(database._engine.sync_engine, "begin")
    def limit(connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")

    acknowledged = []

    async def fill() -> None:
        for _ in range(100):
            acknowledged.append((await jobs.enqueue(alice, "work", {"text": "x" * 1000})).id)

    with pytest.raises(StoreUnavailable, match="disk is full"):
        await fill()
    event.remove(database._engine.sync_engine, "begin", limit)
    assert acknowledged
    found = (await jobs.list(alice, limit=100)).items
    assert [job.id for job in reversed(found)] == acknowledged


FULL = """
import asyncio, resource, signal, sys
from serving.core.principal import Principal
from serving.store.relational.database import Database
from serving.store.relational.sqlite import prepare
from serving.store.errors import StoreUnavailable
from serving.store.jobs.queue import Jobs
async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    alice = Principal("acme", "alice", "key_a")
    async with Database(sys.argv[1]) as database:
        jobs = Jobs(database)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        try:
            while True:
                print((await jobs.enqueue(alice, "work", {"text": "x" * 5000})).id, flush=True)
        except StoreUnavailable as e:
            print("unavailable", flush=True)
        print(len((await jobs.list(alice, limit=100)).items), flush=True)
asyncio.run(main())
"""


@sqlite_only
async def test_file_that_cannot_grow_keeps_what_was_acknowledged(url: str, alice: Principal, spawn) -> None:
    *acknowledged, verdict, readable = spawn(FULL, url).communicate(timeout=300)[0].splitlines()
    assert verdict == "unavailable"
    assert int(readable) == len(acknowledged) > 3
    async with Database(url) as database:
        found = (await Jobs(database).list(alice, limit=100)).items
        assert [job.id for job in reversed(found)] == acknowledged
        await Jobs(database).enqueue(alice, "work", {})  # and there is room again


@uninterrupted
async def test_failed_block_is_undone(database: Database, alice: Principal) -> None:
    jobs = Jobs(database)

    async def broken() -> None:
        async with database.write() as connection:
            await jobs.enqueue(alice, "work", {}, connection=connection)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await broken()
    assert (await jobs.list(alice)).items == []


async def test_cancelled_writers_leave_no_lock(database: Database, url: str, alice: Principal) -> None:
    """A client that hangs up cancels its request anywhere; the write lock must not stay behind."""
    jobs = Jobs(database)
    other = Database(url)
    for turn in range(60):
        task = asyncio.create_task(jobs.enqueue(alice, "work", {"turn": turn}))
        await asyncio.sleep(turn * 0.0001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if turn % 6 == 0:
            await Jobs(other).enqueue(alice, "other", {})
    await jobs.enqueue(alice, "last", {})
    assert len((await jobs.list(alice, kind="other", limit=100)).items) == 10
    await other.close()


async def test_transactions_need_protection(database: Database) -> None:
    with pytest.raises(RuntimeError, match="uninterrupted"):
        async with database.write():
            pass


CLOSES = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM meta').fetchall(); c.close()"


@sqlite_only
async def test_another_process_that_closes_the_database_leaves_the_wal(database: Database, url: str) -> None:
    """It removes the WAL where it is the last; a second Database of this process must not make it look so."""
    await Conversations(database).create(Principal("default", "ada", "key"))
    wal = path_of(database).with_name(f"{path_of(database).name}-wal")
    assert wal.exists()
    async with Database(url):
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", CLOSES, str(path_of(database))], check=True)
        assert wal.exists()
