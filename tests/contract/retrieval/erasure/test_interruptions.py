"""Erasures that wait, are killed, or run while other work and new data of the user arrive."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import serving
from serving.config import Store
from serving.core.principal import SCOPES_OF
from serving.core.uninterrupted import uninterrupted
from serving.exports.export import Order
from serving.exports.manifest import Filters
from serving.exports.register import Register
from serving.exports.splits import parse
from serving.exports.writing import write
from serving.retrieval.embedders.registry import EmbedderRegistry
from serving.security import erasure
from serving.store.jobs.job import COMPACT, ERASE
from serving.store.memories import Memories
from serving.store.relational.tables import metadata
from tests.contract.retrieval.erasure.stack import ADMIN, ALICE, BOB, Stack, holding, of, until_failed

pytestmark = pytest.mark.long


@pytest.mark.usefixtures("planted")
async def test_exports_are_rewritten_or_block_the_erasure(stack: Stack, tmp_path: Path):
    made, moved = tmp_path / "exports" / "made", tmp_path / "exports" / "moved"
    for folder in (made, moved):
        order = Order("trl-prompt-only", Filters(tenant="acme"), parse("train=1"))
        await write(stack.database, order, folder, None)
    moved.rename(tmp_path / "exports" / "elsewhere")
    assert holding(made, ALICE.user)
    bobs = (made / "train.jsonl").read_bytes().count(BOB.user.encode())
    subject = await stack.audit.pseudonym("acme", ALICE.user)
    job = await stack.erasures.request(ADMIN, ALICE.user, subject, dry_run=False)
    if stack.database.is_sqlite:
        await stack.work()
    else:
        await until_failed(stack, job)
        assert "forget-export" in str((await stack.jobs.get(ADMIN, job.id)).error_message)
        (tmp_path / "exports" / "elsewhere").rename(moved)
        await stack.work()
        assert holding(moved, ALICE.user) == []
    assert (await stack.jobs.get(ADMIN, job.id)).status == "succeeded"
    assert holding(made, ALICE.user) == []
    assert (made / "train.jsonl").read_bytes().count(BOB.user.encode()) == bobs > 0
    assert await Register(stack.database).holding("acme", ALICE.user) == []
    assert len(await Register(stack.database).holding("acme", BOB.user)) == 2


async def test_pending_jobs_of_the_user_are_completed_first(stack: Stack):
    file = await stack.file(BOB)
    store = await stack.vector_stores.create(BOB, name="shared")
    await stack.vector_stores.attach(replace(ALICE, role="admin", scopes=SCOPES_OF["admin"]), store.id, file)
    assert (await stack.erase()).status == "succeeded"
    assert (await stack.vector_stores.get_any_file("acme", store.id, file)).status == "completed"
    assert of(await stack.rows(), ALICE.user, "acme") == {}


_WORK = """
import asyncio, os, signal, sys
from serving.config import Store
from serving.retrieval.embedders.registry import EmbedderRegistry
from tests.contract.retrieval.erasure.stack import Stack

async def run(url, folder, step):
    stack = Stack(Store(database=url, data=folder), EmbedderRegistry(None, None))
    steps = 0
    inner = stack.erasures._removal._some_rows
    async def die(*given):
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return await inner(*given)
    stack.erasures._removal._some_rows = die
    if step == 0:
        stack.database.rewrite = lambda: os.kill(os.getpid(), signal.SIGKILL)
    await stack.database.start()
    await stack.work()

asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    ("stack", "step", "killed"),
    [
        ("sqlite", 0, COMPACT),
        ("postgresql", 0, COMPACT),
        ("postgresql", 3, ERASE),
        pytest.param("sqlite", 3, ERASE, marks=pytest.mark.soak),
    ],
    indirect=["stack"],
)
async def test_an_erasure_resumes_after_kill_9(stack: Stack, tmp_path: Path, step: int, killed: str):
    subject = await stack.audit.pseudonym("acme", ALICE.user)
    job = await stack.erasures.request(ADMIN, ALICE.user, subject, dry_run=False)
    root = str(Path(serving.__file__).parents[1])
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _WORK, stack.store.database, str(tmp_path), str(step)],
        env=os.environ | {"PYTHONPATH": root},
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL
    assert [kind for kind, status in await stack.jobs.unfinished() if status == "running"] == [killed]
    await expire(stack)
    await stack.work()
    assert (await stack.jobs.get(ADMIN, job.id)).status == "succeeded"
    assert of(await stack.rows(), ALICE.user, "acme") == {}
    assert len((await stack.audit.page("acme")).items) == 1


@uninterrupted
async def expire(stack: Stack) -> None:
    """What time does to the lease of a process that died."""
    jobs = metadata.tables["jobs"]
    async with stack.database.write() as connection:
        await connection.execute(jobs.update().where(jobs.c.status == "running").values(lease_until=0))


async def test_data_written_while_keys_are_cached_is_erased_too(
    tmp_path: Path, embedders: EmbedderRegistry, monkeypatch: pytest.MonkeyPatch
):
    moment = 0.0
    monkeypatch.setattr(erasure, "now", lambda: moment)
    stack = Stack(Store(database=f"sqlite:///{tmp_path}/headrace.db", data=str(tmp_path)), embedders, settle_s=0.01)
    async with stack.database:
        subject = await stack.audit.pseudonym("acme", ALICE.user)
        job = await stack.erasures.request(ADMIN, ALICE.user, subject, dry_run=False)
        working = asyncio.create_task(stack.work())
        while (await stack.jobs.get(ADMIN, job.id)).run_after == job.run_after:
            await asyncio.sleep(0.01)
        await Memories(stack.database).add(ALICE, "a", "came late")
        moment = float("inf")
        await working
        ended = await stack.jobs.get(ADMIN, job.id)
        assert (ended.status, ended.attempts) == ("succeeded", 1)
        assert of(await stack.rows(), ALICE.user, "acme") == {}
