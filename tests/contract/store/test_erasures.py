"""Erasures beside each other, and beside exports that are being written."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import serving
from serving.core.principal import SCOPES_OF, Principal
from serving.core.uninterrupted import uninterrupted
from serving.exports import source
from serving.exports.export import Order
from serving.exports.folder import BeingWritten, ExportFolder
from serving.exports.manifest import Filters
from serving.exports.register import Elsewhere, Register
from serving.exports.writing import write
from serving.security import erasure
from serving.security.erasure import BRIEF_FAILURES, Erasures
from serving.store.captures import Captures
from serving.store.errors import StoreUnavailable, TooMany
from serving.store.files import Files
from serving.store.jobs.job import ERASURE, Job
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import Handler, JobContext, Worker
from serving.store.relational.database import Database
from serving.store.relational.tables import jobs as jobs_table
from serving.store.tenants import Tenants
from serving.store.users import Users
from serving.store.vector_store import UNINDEX
from serving.store.vector_stores import VectorStores
from tests.store.captures import capture

pytestmark = pytest.mark.long

ROOT = Principal(tenant="acme", user="root", key_id="key_r", scopes=SCOPES_OF["admin"], role="admin")
ORDER = Order("trl-prompt-only", Filters(tenant="acme"), {"train": 1.0})


@dataclass
class Working:
    """The erasures, and a worker that does them while `working`."""

    database: Database
    jobs: Jobs
    erasures: Erasures

    async def request(self, user: str, tenant: str = "acme") -> Job:
        who = Principal(tenant=tenant, user="root", key_id="key_r", scopes=SCOPES_OF["admin"], role="admin")
        return await self.erasures.request(who, user, f"subject of {user}", dry_run=False)

    async def now(self, job: Job) -> Job:
        return await self.jobs.get(job.principal, job.id)

    async def until(self, job: Job, status: str) -> None:
        while (await self.now(job)).status != status:
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def working(self, lane: str | None = None, **more: Handler) -> AsyncIterator[None]:
        worker = Worker(self.jobs, {**self.erasures.handlers, **more}, lane=lane, poll_s=0.01)
        running = asyncio.create_task(worker.run())
        yield
        worker.stop()
        await running


@pytest.fixture
def made(database: Database, jobs: Jobs, files: Files, vector_stores: VectorStores) -> Working:
    erasures = Erasures(database, jobs, files, vector_stores, b"k" * 32, settle_s=0, wait_s=0.02)
    return Working(database, jobs, erasures)


@pytest.fixture
def rewrites(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each time that the database is written anew."""
    done: list[None] = []
    rewrite = database.rewrite

    async def note() -> None:
        await rewrite()
        done.append(None)

    monkeypatch.setattr(database, "rewrite", note)
    return done


def holding(folder: Path, marker: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and marker in path.read_bytes()]


async def test_pending_jobs_of_an_erased_user_move_to_the_erasure_lane(made: Working) -> None:
    """In the other one it would wait behind all documents of the tenant, and the erasure with it."""

    async def done(context: JobContext) -> None:
        return

    await made.jobs.enqueue(Principal(tenant="acme", user="a", key_id="key_a"), UNINDEX, {})
    erasure = await made.request("a")
    async with made.working(ERASURE, **{UNINDEX: done}):
        await asyncio.wait_for(made.until(erasure, "succeeded"), 120)


async def test_erasures_that_wait_share_a_compaction(made: Working, rewrites: list[None]) -> None:
    asked = [await made.request(user) for user in ("a", "b", "c")] + [await made.request("a", "other")]
    async with made.working():
        for job in asked:
            await made.until(job, "succeeded")
        assert len(rewrites) == 1
        await made.until(await made.request("a"), "succeeded")
        assert len(rewrites) == 2


async def test_an_erasure_during_a_compaction_gets_another_one(made: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on, rewrite, ends = asyncio.Event(), asyncio.Event(), made.database.rewrite, []

    async def slow() -> None:
        began.set()
        await go_on.wait()
        await rewrite()
        ends.append(len(ends))

    monkeypatch.setattr(made.database, "rewrite", slow)
    async with made.working(), made.working():
        first = await made.request("a")
        await began.wait()
        second = await made.request("b")
        while "user" in (await made.now(second)).payload:
            await asyncio.sleep(0.01)
        go_on.set()
        await made.until(first, "succeeded")
        await made.until(second, "succeeded")
    assert len(ends) == 2


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
async def test_a_failing_erasure_does_not_block_others(made: Working) -> None:
    await Tenants(made.database).create("acme")
    users = Users(made.database)
    for name in ("root", "second"):
        await users.create(ROOT, name, role="admin")
    failing, other = await made.request("root"), await made.request("b")
    await users.update(ROOT, "second", role="user")  # who is needed from now on
    async with made.working():
        await made.until(other, "succeeded")
    assert "last admin" in str((await made.now(failing)).error_message)


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("failures", "place"), [(1, True), (BRIEF_FAILURES + 1, False)], ids=["briefly", "for long"])
async def test_an_erasure_survives_a_short_database_outage(
    made: Working, monkeypatch: pytest.MonkeyPatch, failures: int, place: bool
) -> None:
    remove, kept, failed = made.erasures._removal.remove, [], []

    async def fail(context: JobContext, user: str) -> None:
        if len(failed) < failures:
            failed.append(user)
            raise StoreUnavailable("restarting")
        kept.append(await group_of(made.database, context.job))
        await remove(context, user)

    monkeypatch.setattr(made.erasures._removal, "remove", fail)
    job = await made.request("a")
    async with made.working():
        await made.until(job, "succeeded")
    assert (kept[0] is not None) == place


@uninterrupted
async def group_of(database: Database, job: Job) -> str | None:
    async with database.read() as connection:
        return (await connection.execute(select(jobs_table.c.group_key).where(jobs_table.c.id == job.id))).scalar_one()


async def test_the_number_of_pending_erasures_is_bounded(made: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "MAX_WAITING", 2)
    first = await made.request("a")
    await made.request("b")
    with pytest.raises(TooMany, match="2 erasures"):
        await made.request("c")
    assert (await made.request("a")).id == first.id
    await made.request("c", "other")


async def test_dry_runs_do_not_count_as_pending_erasures(made: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "MAX_WAITING", 1)
    await made.erasures.request(ROOT, "a", None, dry_run=True)
    await made.request("a")
    with pytest.raises(TooMany, match="1 dry runs"):
        await made.erasures.request(ROOT, "b", None, dry_run=True)
    with pytest.raises(TooMany, match="1 erasures"):
        await made.request("b")


async def test_an_export_that_is_being_written_is_waited_for(
    made: Working, captures: Captures, alice: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = Principal(tenant="acme", user="bob", key_id="key_b")
    for who in (alice, bob):
        await captures.record(who, capture(who, f"{who.user} said so"))
    read, finish, completions = asyncio.Event(), asyncio.Event(), source.completions

    async def slow(*given: Any) -> AsyncIterator[Any]:
        async for one in completions(*given):
            yield one
        read.set()
        await finish.wait()

    monkeypatch.setattr(source, "completions", slow)
    remove, removed = made.erasures._removal.remove, []

    async def count(context: JobContext, user: str) -> None:
        removed.append(user)
        await remove(context, user)

    monkeypatch.setattr(made.erasures._removal, "remove", count)
    writing = asyncio.create_task(write(made.database, ORDER, tmp_path / "exports" / "out", None))
    await read.wait()
    job, next_job = await made.request("alice"), await made.request("nobody")
    async with made.working():
        while (await made.now(job)).message != "exports" or (await made.now(job)).status != "queued":
            await asyncio.sleep(0.01)
        for _ in range(2):  # looks at the export
            before = (await made.now(job)).run_after
            while (await made.now(job)).run_after == before:
                await asyncio.sleep(0.01)
        assert removed == ["alice"]
        assert (await made.now(next_job)).started_at is None  # one after the other
        assert await Register(made.database).holding("acme", "alice") == []
        finish.set()
        assert (await writing).counts.rows == 2
        await made.until(job, "succeeded")
    assert holding(tmp_path / "exports", b"alice said so") == []
    assert holding(tmp_path / "exports", b"bob said so") == ["train.jsonl"]
    assert sorted(path.name for path in (tmp_path / "exports").iterdir()) == ["out"]


_WRITE = """
import asyncio, os, signal, sys
from pathlib import Path
from serving.exports import source
from serving.exports.register import Register
from serving.exports.writing import write
from serving.store.relational.database import Database
from tests.contract.store.test_erasures import ORDER

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def cut(*given):
    async for one in completions(*given):
        yield one
    die()

async def run(url, target, step):
    if step == "written":
        source.completions = cut
    else:
        Register.finish = die
    async with Database(url) as database:
        await write(database, ORDER, Path(target), None)

completions = source.completions
asyncio.run(run(*sys.argv[1:]))
"""


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("step", ["written", "published"])
async def test_an_abandoned_export_does_not_block_erasures(
    made: Working, captures: Captures, alice: Principal, url: str, tmp_path: Path, step: str
) -> None:
    await captures.record(alice, capture(alice, "alice said so"))
    exports = tmp_path / "exports"
    root = str(Path(serving.__file__).parents[1])
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _WRITE, url, str(exports / "out"), step],
        env=os.environ | {"PYTHONPATH": root},
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL
    assert (exports / "out").exists() == (step == "published")
    job = await made.request("alice")
    async with made.working():
        await made.until(job, "succeeded")
    assert holding(exports, b"alice") == []
    assert [path.name for path in exports.iterdir()] == (["out"] if step == "published" else [])
    assert await Register(made.database).unfinished("acme") == []


async def test_an_unfinished_export_on_another_host_is_waited_for(made: Working, tmp_path: Path) -> None:
    register = Register(made.database)
    job = await made.request("alice")
    with ExportFolder(tmp_path / "out") as folder:
        await register.begin(folder, "acme")
    async with made.working():
        if not made.database.is_sqlite:
            while "on another host" not in (await made.now(job)).message:
                await asyncio.sleep(0.01)
            assert (await made.now(job)).error_message is None
            await register.drop(folder.id)  # as its writer does
        await made.until(job, "succeeded")


async def test_a_writer_that_hangs_is_not_waited_for_without_end(
    made: Working, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made.erasures, "_patience_s", 0)
    job, other = await made.request("alice"), await made.request("nobody", "other")
    with ExportFolder(tmp_path / "out") as folder:
        await Register(made.database).begin(folder, "acme")
        async with made.working():
            while "stop its writer" not in str((await made.now(job)).error_message):
                await asyncio.sleep(0.01)
            await made.until(other, "succeeded")
        await Register(made.database).drop(folder.id)
    async with made.working():
        await made.until(job, "succeeded")


async def test_an_export_that_failed_is_not_remembered(
    database: Database, captures: Captures, alice: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await captures.record(alice, capture(alice, "alice said so"))
    drop, dropped = Register.drop, []

    async def refuse(*_: object) -> None:
        raise OSError("gone")

    async def dropping(register: Register, id: str) -> None:
        [one] = await register.unfinished("acme")
        assert holding(tmp_path / "exports", b"alice") == []
        with pytest.raises(BeingWritten):  # and not `Elsewhere`
            await register.take_over(one, here=False)
        await drop(register, id)
        dropped.append(id)

    monkeypatch.setattr(Register, "finish", refuse)
    monkeypatch.setattr(Register, "drop", dropping)
    with pytest.raises(OSError, match="gone"):
        await write(database, ORDER, tmp_path / "exports" / "out", None)
    assert len(dropped) == 1
    assert list((tmp_path / "exports").iterdir()) == []
    assert await Register(database).unfinished("acme") == []


@pytest.mark.parametrize("sweep", ["erasure", "export"])
async def test_an_export_that_could_not_be_dropped_is_dropped_by_the_next_look(
    made: Working, captures: Captures, alice: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: str
) -> None:
    await captures.record(alice, capture(alice, "alice said so"))

    async def unreachable(*_: object) -> None:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as away:
        away.setattr(Register, "finish", unreachable)
        away.setattr(Register, "drop", unreachable)
        with pytest.raises(StoreUnavailable):
            await write(made.database, ORDER, tmp_path / "exports" / "out", None)
    register = Register(made.database)
    [left] = await register.unfinished("acme")
    assert holding(tmp_path / "exports", b"alice") == []
    if sweep == "export":
        await write(made.database, ORDER, tmp_path / "exports" / "out", None)
        assert [one.id for one in await register.holding("acme", "alice")] != [left.id]
        assert [path.name for path in (tmp_path / "exports").iterdir()] == ["out"]
    else:
        async with made.working():
            await made.until(await made.request("alice"), "succeeded")
        assert list((tmp_path / "exports").iterdir()) == []
    assert await register.unfinished("acme") == []


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
async def test_taking_over_jobs_does_not_block_the_event_loop(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree, flock, threads = shutil.rmtree, fcntl.flock, []

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            threads.append((function.__name__, threading.current_thread()))  # ty: ignore[missing-attribute]
            return function(*given, **named)

        return noted

    register = Register(database)
    with ExportFolder(tmp_path / "out") as folder:
        await register.begin(folder, "acme")
        folder._locked.close()  # as the system does for a process that is killed
        monkeypatch.setattr(shutil, "rmtree", note(rmtree))
        monkeypatch.setattr(fcntl, "flock", note(flock))
        await register.take_over((await register.unfinished("acme"))[0], here=True)
        monkeypatch.undo()
    assert list(tmp_path.glob(".out*")) == []
    assert [name for name, _ in threads] == ["flock", "rmtree"]
    assert threading.main_thread() not in [thread for _, thread in threads]


async def test_only_its_host_can_take_an_export_over(database: Database, tmp_path: Path) -> None:
    register = Register(database)
    with ExportFolder(tmp_path / "out") as folder:
        await register.begin(folder, "acme")
        [one] = await register.unfinished("acme")
        with pytest.raises(BeingWritten):
            await register.take_over(one, here=True)
    with pytest.raises(Elsewhere):
        await register.take_over(one, here=False)
    assert await register.unfinished("acme") == [one]
    await register.take_over(one, here=True)
    assert await register.unfinished("acme") == []
    await register.take_over(one, here=False)  # another erasure did
