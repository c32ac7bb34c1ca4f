from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from serving.core import ids
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import LeaseLost
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import ExternalError, JobContext, PermanentError, Postponed, Worker
from serving.store.relational.database import Database


@asynccontextmanager
async def working(jobs: Jobs, handler: Callable[[JobContext], Awaitable[object]], **options: object):
    worker = Worker(jobs, {"work": handler}, **({"poll_s": 0.01} | options))
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(task, 60)


async def until(jobs: Jobs, principal: Principal, id: str, *statuses: str) -> Job:
    while True:
        job = await jobs.get(principal, id)
        if job.status in statuses:
            return job
        await asyncio.sleep(0.01)


async def test_a_worker_stores_result_and_progress(jobs: Jobs, alice: Principal) -> None:
    async def handler(context: JobContext) -> dict[str, object]:
        await context.progress(1, 2, "half")
        return {"tenant": context.principal.tenant, "n": context.job.payload["n"]}

    made = await jobs.enqueue(alice, "work", {"n": 7})
    async with working(jobs, handler):
        job = await until(jobs, alice, made.id, "succeeded", "failed")
    assert (job.result, job.done, job.total, job.message) == ({"tenant": "acme", "n": 7}, 1, 2, "half")


async def test_failures_outside_have_their_own_delays_and_one_line_in_the_log(
    jobs: Jobs, alice: Principal, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []

    async def handler(context: JobContext) -> None:
        waits.append(context.job.run_after)
        raise ExternalError("not_there", "nobody answers", 0.5 if len(waits) == 2 else 0.01)

    made = await jobs.enqueue(alice, "work", {}, max_attempts=4)
    async with working(jobs, handler):
        job = await until(jobs, alice, made.id, "failed")
    assert (job.attempts, job.error_code, job.error_message) == (4, "not_there", "nobody answers")
    assert waits[2] - waits[1] >= 0.5
    [line] = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert (line.exc_info, line.getMessage()) == (None, f"work {made.id} was given up after 4 attempts: nobody answers")


async def test_postponed_jobs_keep_their_attempts(jobs: Jobs, alice: Principal) -> None:
    tries = []

    async def handler(context: JobContext) -> None:
        tries.append(context.job.attempts)
        if len(tries) < 8:
            raise Postponed(0.01)

    made = await jobs.enqueue(alice, "work", {}, max_attempts=1)
    async with working(jobs, handler):
        assert (await until(jobs, alice, made.id, "succeeded", "failed")).status == "succeeded"
    assert tries == [1] * 8


async def test_retries_what_fails(jobs: Jobs, alice: Principal) -> None:
    tries = []

    async def handler(context: JobContext) -> None:
        tries.append(context.job.attempts)
        if len(tries) < 3:
            raise OSError("flaky")

    made = await jobs.enqueue(alice, "work", {})
    async with working(jobs, handler):
        await until(jobs, alice, made.id, "succeeded", "failed")
    assert tries == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "attempts", "code", "message"),
    [
        (PermanentError("unsupported_file", "not a PDF"), 1, "unsupported_file", "not a PDF"),
        (KeyError("x"), 2, "server_error", "KeyError: 'x'"),
        (asyncio.CancelledError(), 2, "server_error", "the handler cancelled itself"),
    ],
)
async def test_a_job_ends_as_failed_with_the_error(
    jobs: Jobs, alice: Principal, error: BaseException, attempts: int, code: str, message: str
) -> None:
    async def handler(context: JobContext) -> None:
        raise error

    made = await jobs.enqueue(alice, "work", {}, max_attempts=2)
    async with working(jobs, handler):
        job = await until(jobs, alice, made.id, "succeeded", "failed")
    assert (job.status, job.attempts, job.error_code, job.error_message) == ("failed", attempts, code, message)


class Clock:
    """Stands in for the module `time`, and is set."""

    now = 1e9

    def time(self) -> float:
        return self.now


async def test_heartbeats_keep_a_long_job(jobs: Jobs, alice: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, runs, lease_s = Clock(), [], 0.3
    monkeypatch.setattr(ids, "time", clock)

    async def handler(context: JobContext) -> None:
        runs.append(context.job.attempts)
        for _ in range(6):  # four leases long
            clock.now += lease_s * 2 / 3
            while (await jobs.get(alice, context.job.id)).lease_until != clock.now + lease_s:
                await asyncio.sleep(0.01)

    made = await jobs.enqueue(alice, "work", {})
    async with (
        asyncio.timeout(60),
        working(jobs, handler, lease_s=lease_s),
        working(jobs, handler, lease_s=lease_s),
    ):
        await until(jobs, alice, made.id, "succeeded")
    assert runs == [1]


async def test_cancel_reaches_the_handler(jobs: Jobs, alice: Principal) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def handler(context: JobContext) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    made = await jobs.enqueue(alice, "work", {})
    async with working(jobs, handler, lease_s=0.3):
        await started.wait()
        await jobs.cancel(alice, made.id)
        await until(jobs, alice, made.id, "cancelled")
    assert stopped.is_set()


async def test_check_stops_a_cancelled_handler(jobs: Jobs, alice: Principal) -> None:
    async def handler(context: JobContext) -> None:
        await jobs.cancel(alice, context.job.id)
        with pytest.raises(LeaseLost):
            await context.check()
        await context.progress(1, 1)
        raise AssertionError("went on")

    made = await jobs.enqueue(alice, "work", {})
    async with working(jobs, handler):
        await until(jobs, alice, made.id, "cancelled")


async def test_stopping_releases_running_jobs(jobs: Jobs, alice: Principal) -> None:
    started = asyncio.Event()

    async def handler(context: JobContext) -> None:
        started.set()
        await asyncio.Event().wait()

    made = await jobs.enqueue(alice, "work", {})
    async with working(jobs, handler):
        await started.wait()
    job = await jobs.get(alice, made.id)
    assert (job.status, job.attempts, job.lease_owner) == ("queued", 0, None)


@pytest.mark.parametrize("step", ["claim", "complete"])
async def test_stopping_waits_for_writes(
    jobs: Jobs, alice: Principal, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Else the job would be nobody's until its lease runs out."""
    write, begun = getattr(jobs, step), asyncio.Event()

    async def slow(*given: object, **named: object) -> object:
        begun.set()
        for _ in range(20):  # the worker's tasks have their turns
            await asyncio.sleep(0)
        return await write(*given, **named)

    async def handler(context: JobContext) -> None:
        return None

    monkeypatch.setattr(jobs, step, uninterrupted(slow))
    made = await jobs.enqueue(alice, "work", {})
    async with working(jobs, handler):
        await begun.wait()
    job = await jobs.get(alice, made.id)
    assert job.lease_owner is None
    assert (job.status, job.attempts) == (("queued", 0) if step == "claim" else ("succeeded", 1))


async def test_result_that_is_no_json_fails(jobs: Jobs, alice: Principal) -> None:
    async def handler(context: JobContext) -> dict[str, object]:
        return {"bad": object()}

    made = await jobs.enqueue(alice, "work", {}, max_attempts=1)
    async with working(jobs, handler, lease_s=0.2):
        job = await until(jobs, alice, made.id, "failed")
    assert job.attempts == 1


async def test_jobs_run_concurrently(jobs: Jobs, alice: Principal) -> None:
    together = asyncio.Barrier(3)

    async def handler(context: JobContext) -> None:
        await together.wait()

    made = [await jobs.enqueue(alice, "work", {}) for _ in range(3)]
    async with working(jobs, handler, concurrency=3):
        for job in made:
            await until(jobs, alice, job.id, "succeeded")


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
async def test_outlives_a_locked_database(jobs: Jobs, alice: Principal, url: str) -> None:
    async def handler(context: JobContext) -> None:
        return None

    made = await jobs.enqueue(alice, "work", {})
    database = Database(url, busy_timeout_s=0.05)
    blocker = sqlite3.connect(str(database.url.database), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    async with working(Jobs(database), handler):
        await asyncio.sleep(0.3)
        assert (await jobs.get(alice, made.id)).status == "queued"
        blocker.execute("COMMIT")
        await until(jobs, alice, made.id, "succeeded")
    blocker.close()
    await database.close()


VICTIM = """
import asyncio, sys
from serving.store.relational.database import Database
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import Worker
async def handler(context):
    await context.progress(1, 2)
    print(context.job.id, context.job.attempts, flush=True)
    await asyncio.Event().wait()
async def main():
    await Worker(Jobs(Database(sys.argv[1])), {"work": handler}, lease_s=1, poll_s=0.05).run()
asyncio.run(main())
"""


async def test_job_of_a_killed_worker_is_retried(jobs: Jobs, url: str, alice: Principal, spawn) -> None:
    attempts = []

    async def handler(context: JobContext) -> None:
        attempts.append(context.job.attempts)

    made = await jobs.enqueue(alice, "work", {})
    victim = spawn(VICTIM, url)
    assert await asyncio.to_thread(victim.stdout.readline) == f"{made.id} 1\n"
    os.kill(victim.pid, signal.SIGKILL)
    async with working(jobs, handler):
        await until(jobs, alice, made.id, "succeeded")
    assert attempts == [2]


async def test_one_tenants_jobs_never_take_all_places_of_a_worker(jobs: Jobs, alice: Principal) -> None:
    begun: list[str] = []
    ended = asyncio.Event()

    async def handler(context: JobContext) -> None:
        begun.append(context.principal.tenant)
        if context.principal.tenant == alice.tenant:
            await ended.wait()

    other = Principal(tenant="other", user="u", key_id="k")
    theirs = [await jobs.enqueue(alice, "work", {}) for _ in range(5)]
    async with working(jobs, handler, concurrency=3, each=2):
        async with asyncio.timeout(120):
            while begun.count(alice.tenant) < 2:
                await asyncio.sleep(0.01)
            for _ in range(3):
                mine = await jobs.enqueue(other, "work", {})
                await until(jobs, other, mine.id, "succeeded")
        assert begun.count(alice.tenant) == 2
        ended.set()
        for job in theirs:
            await until(jobs, alice, job.id, "succeeded")
