"""What is particular to PostgreSQL: plans, locks, and every way in which a server is in trouble."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from serving.config import SecretRef, Store
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import InvalidValue, NotFound, StoreUnavailable
from serving.store.files import Files
from serving.store.jobs.job import claimable
from serving.store.jobs.queue import Jobs
from serving.store.keys import Keys
from serving.store.relational.database import Database
from serving.store.relational.postgres import PostgresAccess
from serving.store.vector_stores import VectorStores
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)

Open = Callable[..., Database]


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """One that each test migrates itself."""
    return new_url()


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Open]:
    """Opens databases, by default the test's own, and closes them."""
    made: list[Database] = []

    def open(at: str = url, **given: object) -> Database:
        made.append(Database(at, **given))  # type: ignore[arg-type]
        return made[-1]

    yield open
    for database in made:
        await database.close()


@uninterrupted
async def execute(database: Database, statement: str) -> None:
    async with database.write() as connection:
        await connection.execute(text(statement))


@uninterrupted
async def test_claim_reads_no_finished_jobs(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(
            text(
                """INSERT INTO jobs (id, tenant, "user", kind, payload, status, attempts, max_attempts, run_after, done,
                total, message, created_at, finished_at)
                SELECT 'job_' || n, 't', 'u', 'work', '{}', 'succeeded', 1, 5, 0, 0, 0, '', n, n
                FROM generate_series(1, 20000) n"""
            )
        )
    await execute(database, "ANALYZE jobs")
    async with database.read() as connection:
        query = claimable(["work"], 0.0).compile(
            dialect=database._engine.dialect, compile_kwargs={"literal_binds": True}
        )
        plan = "\n".join(row[0] for row in await connection.exec_driver_sql(f"EXPLAIN {query}"))
    assert "ix_jobs_unfinished" in plan or "uq_jobs_dedupe" in plan or "ix_jobs_group" in plan
    assert "Seq Scan" not in plan


def with_password(postgres: Postgres, url: str, folder: Path, password: str) -> Store:
    (folder / "password").write_text(f"{password}\n")
    return Store(database=url, password=SecretRef(ref=f"file:{folder}/password"), data="/none")


@pytest.fixture
def without_environment(monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> None:
    monkeypatch.delenv("PGPASSWORD")


async def refused(database: Database, reason: str) -> None:
    for call in (database.migrate, database.require_current, database.check):
        with pytest.raises(StoreUnavailable, match=reason) as e:
            await call()
        assert Postgres.password not in str(e.value)


@pytest.mark.usefixtures("without_environment")
async def test_a_corrected_password_needs_no_restart(postgres: Postgres, url: str, tmp_path: Path) -> None:
    database = Database.from_config(with_password(postgres, url, tmp_path, "wrong"))
    await refused(database, r"test\d+ at 127\.0\.0\.1:\d+ .*authentication failed.*check store.database and store.pass")
    # A password that is mended is taken up without a restart.
    (tmp_path / "password").write_text(postgres.password)
    await database.migrate()
    await database.check()
    (tmp_path / "password").unlink()
    await database.check()  # what is connected stays so
    await database.close()
    await refused(database, "secret file:.* cannot be read")
    await database.close()
    nameless = Database(url)
    await refused(nameless, "no password supplied.*check store.database")
    await nameless.close()


async def test_unreachable_servers_are_errors(postgres: Postgres, opened: Open) -> None:
    await refused(opened(postgres.url("nowhere")), "does not exist.*create it first")
    await refused(
        opened("postgresql://headrace@127.0.0.1:1/x"), "127.0.0.1:1 cannot be used.*check that the server runs"
    )
    await refused(opened("postgresql://headrace@no-such-host.invalid/x"), "check that the server runs")
    await refused(opened(access=PostgresAccess(tls="require")), "SSL.*check store.tls")


async def test_silent_servers_time_out(opened: Open) -> None:
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    ended = asyncio.Event()
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        database = opened(f"postgresql://headrace@127.0.0.1:{port}/x", access=PostgresAccess(connect_timeout_s=2))
        try:
            with pytest.raises(StoreUnavailable, match=r"timeout expired.*check that the server runs"):
                await database.check()
        finally:
            ended.set()


async def test_every_connection_in_use(database: Database, opened: Open) -> None:
    narrow = opened(pool_size=1, busy_timeout_s=0.1)

    @uninterrupted
    async def hold() -> None:
        async with narrow.read():
            with pytest.raises(StoreUnavailable, match="every database connection is in use"):
                await narrow.check()

    await hold()
    await narrow.check()


async def test_too_many_connections_are_reported(postgres: Postgres, database: Database, opened: Open) -> None:
    postgres.sql(f"CREATE ROLE few LOGIN SUPERUSER PASSWORD '{postgres.password}'")
    postgres.sql("ALTER ROLE few NOSUPERUSER CONNECTION LIMIT 1")
    name = str(database.url.database)
    postgres.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO few", name)
    one, two = (opened(postgres.url(name).replace("headrace@", "few@")) for _ in range(2))
    await one.check()
    with pytest.raises(StoreUnavailable, match=r"too many connections.*lower store.connections"):
        await two.check()
    await one.close()
    deadline = asyncio.get_running_loop().time() + 60
    while postgres.sql("SELECT 1 FROM pg_stat_activity WHERE usename = 'few'"):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    await two.check()
    with pytest.raises(StoreUnavailable, match=r"permission denied.*owner of the schema"):
        await Keys(two).add_bootstrap("0" * 64)


async def test_long_statements_time_out(database: Database, opened: Open) -> None:
    hasty = opened(access=PostgresAccess(statement_timeout_s=2))
    with pytest.raises(StoreUnavailable, match=r"longer than store.statement_timeout_s"):
        await execute(hasty, "SELECT pg_sleep(60)")
    await hasty.check()


async def test_a_read_only_replica_is_recognised(
    postgres: Postgres, database: Database, opened: Open, alice: Principal
) -> None:
    """A failover that went wrong, or a URL of the wrong server: it can be read, and that is all."""
    await database.close()
    signal = postgres.folder / "data" / "standby.signal"
    postgres.stop()
    signal.touch()
    try:
        postgres.start()
        replica = opened()
        await replica.check()
        with pytest.raises(StoreUnavailable, match="read-only: is this a replica"):
            await Jobs(replica).enqueue(alice, "work", {})
    finally:
        postgres.stop()
        signal.unlink()
        postgres.start()
    await Jobs(replica).enqueue(alice, "work", {})


@pytest.fixture
def small_disk(tmp_path: Path, postgres: Postgres) -> Iterator[Path]:
    """A disk of 16 MB, which only root can make."""
    folder = postgres.folder / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0777", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can only be made by root")
    (folder / "space").mkdir()
    os.chown(folder / "space", 65534, 65534)
    yield folder / "space"
    postgres.sql("DROP DATABASE IF EXISTS tight WITH (FORCE)")
    postgres.sql("DROP TABLESPACE IF EXISTS small")
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_reported_and_loses_no_acknowledged_job(
    postgres: Postgres, small_disk: Path, opened: Open, alice: Principal
) -> None:
    postgres.sql(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    postgres.sql("CREATE DATABASE tight TABLESPACE small")
    database = opened(postgres.url("tight"))
    await database.migrate()
    jobs = Jobs(database)
    acknowledged: list[str] = []

    async def fill() -> None:
        while True:
            acknowledged.append((await jobs.enqueue(alice, "work", {"text": os.urandom(200_000).hex()})).id)

    with pytest.raises(StoreUnavailable, match="its disk is full: free some space"):
        await fill()
    assert acknowledged
    found = (await jobs.list(alice, limit=100)).items
    assert [job.id for job in reversed(found)] == acknowledged
    larger = ["mount", "-o", "remount,size=64m", str(small_disk.parent)]
    await asyncio.to_thread(subprocess.run, larger, check=True)
    await jobs.enqueue(alice, "work", {})


async def test_server_that_restarts_under_load(postgres: Postgres, database: Database, alice: Principal) -> None:
    """Requests get the one typed error, nothing acknowledged is lost, and work goes on by itself."""
    jobs, stop = Jobs(database), asyncio.Event()
    acknowledged: list[str] = []
    failures: list[StoreUnavailable] = []

    async def load() -> None:
        while not stop.is_set():
            try:
                acknowledged.append((await jobs.enqueue(alice, "work", {})).id)
                await jobs.get(alice, acknowledged[-1])
            except StoreUnavailable as e:
                failures.append(e)
                await asyncio.sleep(0.01)

    async def until(done: Callable[[], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + 60
        while not done():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)

    loads = [asyncio.create_task(load()) for _ in range(6)]
    for end in (postgres.stop, postgres.kill):
        reached = len(acknowledged) + 20
        await until(lambda reached=reached: len(acknowledged) > reached)  # type: ignore[misc]
        failed = len(failures)
        await asyncio.to_thread(end)
        await until(lambda failed=failed: len(failures) > failed + 6)  # type: ignore[misc]
        await asyncio.to_thread(postgres.start)
        reached = len(acknowledged) + 20
        await until(lambda reached=reached: len(acknowledged) > reached)  # type: ignore[misc]
    stop.set()
    await asyncio.gather(*loads)
    for id in acknowledged:
        await jobs.get(alice, id)
    assert any("check that the server runs" in str(e) for e in failures)


async def test_a_connection_that_is_cut_off(postgres: Postgres, database: Database, alice: Principal) -> None:
    """The pool notices before a request does."""
    jobs = Jobs(database)
    for _ in range(5):
        await jobs.enqueue(alice, "work", {})
        name = database.url.database
        postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert len((await jobs.list(alice)).items) == 5


async def test_changes_that_meet_neither_hang_nor_break(url: str, database: Database, alice: Principal) -> None:
    """Files come, go, and move between stores from several processes' connections at once: no deadlock, no orphan."""
    databases = [Database(url, busy_timeout_s=120) for _ in range(4)]
    parts = []
    for each in databases:
        jobs = Jobs(each)
        stores = VectorStores(each, jobs)
        parts.append((jobs, stores, Files(each, jobs, stores)))
    _, stores, files = parts[0]
    store_ids = [(await stores.create(alice)).id for _ in range(3)]
    given = {"purpose": "assistants", "bytes": 1, "sha256": "0" * 64, "kind": "text/plain"}
    file_ids = [(await files.create(alice, new_id("file"), filename="a", **given)).id for _ in range(12)]
    rng = random.Random(7)

    async def change(number: int) -> None:
        jobs, stores, files = parts[number % len(parts)]
        store, file = rng.choice(store_ids), rng.choice(file_ids)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: stores.attach(alice, store, file),
            lambda: stores.attach(alice, store, file, attributes={"n": number}),
            lambda: stores.detach(alice, store, file),
            lambda: jobs.claim(["ingest_file", "unindex_file"], "w", 60),
        ]
        if number % 25 == 0:
            calls = [lambda: files.delete(alice, file)]
        with suppress(NotFound):
            await rng.choice(calls)()

    for start in range(0, 320, 16):
        await asyncio.wait_for(asyncio.gather(*(change(start + n) for n in range(16))), 300)
    await asyncio.wait_for(asyncio.gather(*(parts[n][1].delete(alice, store_ids[n]) for n in range(3))), 300)
    for each in databases:
        await each.close()


async def test_concurrent_inserts_of_one_row_create_one(url: str, database: Database, alice: Principal) -> None:
    databases = [Database(url, busy_timeout_s=120) for _ in range(3)]
    for turn in range(10):
        key = f"k{turn}"
        made = await asyncio.gather(
            *(Jobs(databases[n % 3]).enqueue(alice, "work", {}, dedupe_key=key, group=("g", None)) for n in range(9))
        )
        assert len({job.id for job in made}) == 1
    for each in databases:
        await each.close()


async def test_concurrent_bootstrap_creates_one_key(url: str, database: Database) -> None:
    databases = [Database(url, busy_timeout_s=120) for _ in range(4)]
    hashes = [f"{n % 2}" * 64 for n in range(8)]
    await asyncio.gather(*(Keys(databases[n % 4]).add_bootstrap(h) for n, h in enumerate(hashes)))
    found = [await Keys(database).by_hash(h) for h in set(hashes)]
    assert sum(held is not None and held.key.revoked_at is None for held in found) == 1
    for each in databases:
        await each.close()


@pytest.mark.parametrize("odd", ["a\0b", "a\ud800b", "\U0010ffff", "'; DROP TABLE jobs; --", "%s %(x)s :y \\"])
async def test_odd_characters_are_kept_or_rejected(database: Database, alice: Principal, odd: str) -> None:
    jobs = Jobs(database)
    stores = VectorStores(database, jobs)
    job = await jobs.enqueue(alice, "work", {"text": odd}, dedupe_key="k")
    claimed = await jobs.claim(["work"], odd.replace("\0", "").encode("utf-8", "replace").decode(), 60)
    assert claimed is not None
    assert claimed.payload == {"text": odd}
    await jobs.heartbeat(claimed, 60, message=odd)
    failed = await jobs.fail(claimed, odd, retryable=False)
    assert (failed.error_message or "").replace("?", "") == odd.replace("\0", "").replace("\ud800", "")
    assert (await jobs.get(alice, job.id)).status == "failed"
    if "\0" in odd or "\ud800" in odd:
        with pytest.raises(InvalidValue):
            await stores.create(alice, name=odd)
        with pytest.raises(InvalidValue):
            await stores.create(alice, metadata={odd: "x"})
    else:
        made = await stores.create(alice, name=odd, metadata={odd: odd})
        assert (await stores.get(alice, made.id)).metadata == {odd: odd}
        assert [s.id for s in (await stores.list(alice, name=odd)).items] == [made.id]
