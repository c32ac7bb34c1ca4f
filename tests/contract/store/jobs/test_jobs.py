from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import Select, select

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import InvalidValue, LeaseLost, NotFound
from serving.store.jobs.job import ERASURE, any_claimable, claimable
from serving.store.jobs.queue import Job, Jobs
from serving.store.relational.database import Database
from serving.store.relational.tables import jobs as table


async def claim(jobs: Jobs, owner: str = "worker", lease_s: float = 10) -> Job | None:
    return await jobs.claim(["work"], owner, lease_s)


async def claimed(jobs: Jobs, owner: str = "worker", lease_s: float = 10) -> Job:
    job = await claim(jobs, owner, lease_s)
    assert job is not None
    return job


async def test_a_job_is_queued_claimed_and_completed(jobs: Jobs, alice: Principal) -> None:
    made = await jobs.enqueue(alice, "work", {"n": 1})
    assert (made.status, made.attempts, made.tenant, made.user) == ("queued", 0, "acme", "alice")
    running = await claimed(jobs)
    assert (running.id, running.status, running.attempts) == (made.id, "running", 1)
    assert (running.lease_owner or "").startswith("worker/")
    assert (running.principal.tenant, running.principal.user) == ("acme", "alice")
    await jobs.heartbeat(running, 10, done=3, total=9, message="chunks")
    seen = await jobs.get(alice, made.id)
    assert (seen.done, seen.total, seen.message) == (3, 9, "chunks")
    ended = await jobs.complete(running, {"chunks": 9})
    assert (ended.status, ended.result, ended.lease_owner) == ("succeeded", {"chunks": 9}, None)
    assert ended.finished_at is not None
    assert await claim(jobs) is None


async def test_other_tenants_find_nothing(jobs: Jobs, alice: Principal, mallory: Principal) -> None:
    made = await jobs.enqueue(alice, "work", {})
    for call in (jobs.get(mallory, made.id), jobs.cancel(mallory, made.id)):
        with pytest.raises(NotFound):
            await call
    assert (await jobs.list(mallory)).items == []
    with pytest.raises(InvalidValue):
        await jobs.list(mallory, after=made.id)
    assert (await jobs.get(alice, made.id)).status == "queued"


@pytest.mark.parametrize("id", ["", "job_none", "\ud800", "a\0", "x" * 10_000])
async def test_impossible_ids_are_not_found(jobs: Jobs, alice: Principal, id: str) -> None:
    with pytest.raises(NotFound):
        await jobs.get(alice, id)
    with pytest.raises(InvalidValue):
        await jobs.list(alice, after=id)


async def test_jobs_are_listed_in_pages_by_kind_and_status(jobs: Jobs, alice: Principal) -> None:
    ids = [(await jobs.enqueue(alice, kind, {})).id for kind in ("work", "other", "work", "work")]
    first = await jobs.list(alice, kind="work", limit=2)
    assert ([j.id for j in first.items], first.has_more) == ([ids[3], ids[2]], True)
    second = await jobs.list(alice, kind="work", limit=2, after=ids[2])
    assert ([j.id for j in second.items], second.has_more) == ([ids[0]], False)
    assert len((await jobs.list(alice, status="queued")).items) == 4
    assert await jobs.unfinished() == {("work", "queued"): 3, ("other", "queued"): 1}


async def test_the_oldest_job_of_the_requested_kind_is_claimed(jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "other", {})
    first = await jobs.enqueue(alice, "work", {})
    await jobs.enqueue(alice, "work", {})
    assert (await claimed(jobs)).id == first.id


async def test_a_delayed_job_is_claimed_after_its_delay(jobs: Jobs, alice: Principal, monkeypatch) -> None:
    time = [1000.0]
    monkeypatch.setattr("serving.store.jobs.queue.now", lambda: time[0])
    await jobs.enqueue(alice, "work", {}, delay_s=60)
    time[0] += 59
    assert await claim(jobs) is None
    time[0] += 1
    assert await claim(jobs) is not None


async def test_retries_back_off_and_end(database: Database, alice: Principal, monkeypatch) -> None:
    time = [1000.0]
    monkeypatch.setattr("serving.store.jobs.queue.now", lambda: time[0])
    jobs = Jobs(database, backoff_s=2, backoff_cap_s=10)
    await jobs.enqueue(alice, "work", {}, max_attempts=5)
    waits = []
    while True:
        job = await jobs.fail(await claimed(jobs), "it rained", code="weather")
        if job.status != "queued":
            break
        waits.append(job.run_after - time[0])
        time[0] = job.run_after
    assert waits == [2, 4, 8, 10]
    assert (job.status, job.attempts, job.error_code, job.error_message) == ("failed", 5, "weather", "it rained")


async def test_a_permanent_failure_ends_the_job_and_its_message_is_truncated(jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "work", {})
    ended = await jobs.fail(await claimed(jobs), "x" * 100_000, retryable=False)
    assert (ended.status, len(ended.error_message or "")) == ("failed", 2000)


async def test_success_after_failure_clears_the_error(jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "work", {})
    assert (await jobs.fail(await claimed(jobs), "once")).error_message == "once"
    await asyncio.sleep(0.02)
    assert (await jobs.complete(await claimed(jobs))).error_message is None


async def test_an_expired_lease_is_taken_over_and_fenced(jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "work", {})
    slow = await claimed(jobs, "slow", lease_s=0)
    await jobs.heartbeat(slow, 0)  # nobody took it yet
    quick = await claimed(jobs, "quick")
    assert (quick.id, quick.attempts) == (slow.id, 2)
    for call in (jobs.heartbeat(slow, 10), jobs.complete(slow), jobs.fail(slow, "x"), jobs.release(slow)):
        with pytest.raises(LeaseLost):
            await call
    assert (await jobs.complete(quick)).status == "succeeded"
    for call in (jobs.heartbeat(quick, 10), jobs.complete(quick), jobs.fail(quick, "x"), jobs.release(quick)):
        with pytest.raises(LeaseLost):
            await call


async def test_fence_holds_against_an_owner_of_the_same_name(jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "work", {})
    first = await claimed(jobs, "pod-0", lease_s=0)
    second = await claimed(jobs, "pod-0")
    await jobs.release(second)
    third = await claimed(jobs, "pod-0")
    assert third.attempts == second.attempts
    for before in (first, second):
        with pytest.raises(LeaseLost):
            await jobs.complete(before)


async def test_a_job_that_never_completes_ends_as_failed(jobs: Jobs, alice: Principal) -> None:
    made = await jobs.enqueue(alice, "work", {}, max_attempts=2)
    after = await jobs.enqueue(alice, "work", {})
    for _ in range(2):
        assert (await claimed(jobs, lease_s=0)).id == made.id
    assert (await claimed(jobs)).id == after.id
    ended = await jobs.get(alice, made.id)
    assert (ended.status, ended.attempts) == ("failed", 2)
    assert "died" in (ended.error_message or "")


async def test_a_cancelled_job_ends_or_loses_its_lease(jobs: Jobs, alice: Principal) -> None:
    queued = await jobs.enqueue(alice, "work", {})
    assert (await jobs.cancel(alice, queued.id)).status == "cancelled"
    assert await claim(jobs) is None
    await jobs.enqueue(alice, "work", {})
    running = await claimed(jobs)
    asked = await jobs.cancel(alice, running.id)
    assert (asked.status, asked.cancel_requested) == ("running", True)
    with pytest.raises(LeaseLost):
        await jobs.heartbeat(running, 10)
    assert (await jobs.release(running)).status == "cancelled"
    assert (await jobs.cancel(alice, running.id)).status == "cancelled"


async def test_cancelled_job_is_not_retried(jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "work", {})
    running = await claimed(jobs)
    await jobs.cancel(alice, running.id)
    assert (await jobs.fail(running, "x")).status == "cancelled"
    await jobs.enqueue(alice, "work", {})
    dead = await claimed(jobs, lease_s=0)
    await jobs.cancel(alice, dead.id)
    assert await claim(jobs) is None
    assert (await jobs.get(alice, dead.id)).status == "cancelled"


async def test_cancelling_an_ended_job_changes_nothing(jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "work", {})
    running = await claimed(jobs)
    await jobs.cancel(alice, running.id)
    assert (await jobs.complete(running)).status == "succeeded"  # the work is done: saying otherwise would be a lie


async def test_release_costs_no_attempt(jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "work", {}, max_attempts=1)
    for _ in range(3):
        released = await jobs.release(await claimed(jobs))
        assert (released.status, released.attempts) == ("queued", 0)


async def test_a_dedupe_key_selects_the_unfinished_job_of_its_owner(
    jobs: Jobs, alice: Principal, mallory: Principal
) -> None:
    first = await jobs.enqueue(alice, "work", {}, dedupe_key="compact")
    assert (await jobs.enqueue(alice, "work", {}, dedupe_key="compact")).id == first.id
    others = [
        await jobs.enqueue(mallory, "work", {}, dedupe_key="compact"),
        await jobs.enqueue(alice, "other", {}, dedupe_key="compact"),
        await jobs.enqueue(alice, "work", {}, dedupe_key="else"),
    ]
    assert first.id not in {j.id for j in others}
    running = await claimed(jobs)
    assert running.id == first.id
    assert (await jobs.enqueue(alice, "work", {}, dedupe_key="compact")).id == first.id
    await jobs.cancel(alice, running.id)
    again = await jobs.enqueue(alice, "work", {}, dedupe_key="compact")
    assert again.id != first.id
    await jobs.release(running)
    await jobs.cancel(alice, again.id)
    assert (await jobs.enqueue(alice, "work", {}, dedupe_key="compact")).id != again.id


async def test_groups_run_in_order(jobs: Jobs, alice: Principal) -> None:
    groups = [("g", "a"), ("g", "a"), ("g", "b"), ("g", None), ("g", "c"), ("h", "a"), None]
    ids = [(await jobs.enqueue(alice, "work", {"n": n}, group=g)).id for n, g in enumerate(groups)]
    order = {id: n for n, id in enumerate(ids)}

    async def claimable() -> list[Job]:
        found = []
        while (job := await claim(jobs)) is not None:
            found.append(job)
        return found

    first = await claimable()
    assert [order[j.id] for j in first] == [0, 2, 5, 6]
    await jobs.complete(first[0])
    second = await claimable()
    assert [order[j.id] for j in second] == [1]
    await jobs.complete(second[0])
    assert await claimable() == []
    await jobs.complete(first[1])
    third = await claimable()
    assert [order[j.id] for j in third] == [3]
    await jobs.complete(third[0])
    assert [order[j.id] for j in await claimable()] == [4]


@uninterrupted
async def test_empty_claims_do_not_wait_for_writers(database: Database, jobs: Jobs, alice: Principal) -> None:
    await jobs.enqueue(alice, "later", {}, delay_s=3600)
    await jobs.enqueue(alice, "work", {})
    async with database.write():
        looks = [jobs.claim(["later"], "w", 10), jobs.claim(["work"], "w", 10, lane=ERASURE)]
        tasks = [asyncio.create_task(look) for look in looks]
        done, _ = await asyncio.wait(tasks, timeout=120)
        assert [task.result() for task in tasks if task in done] == [None, None]


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("query", [claimable(["work"], 0.0), any_claimable(("work",), "").statement.params(at=0.0)])
@uninterrupted
async def test_claim_uses_its_indexes(database: Database, query: Select[Any]) -> None:
    """Finished jobs pile up; a claim must not read them."""
    async with database.read() as connection:
        sql = query.compile(dialect=database._engine.dialect, compile_kwargs={"literal_binds": True})
        plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")).all()
    text = "\n".join(str(row) for row in plan)
    assert "ix_jobs_unfinished" in text
    assert "ix_jobs_group" in text
    assert "TEMP B-TREE" not in text


async def test_end_callback_shares_the_transaction(jobs: Jobs, alice: Principal) -> None:
    seen: list[str] = []

    async def broken(connection, job: Job) -> None:
        seen.append(job.status)
        raise RuntimeError

    jobs.on_end("work", broken)
    await jobs.enqueue(alice, "work", {})
    running = await claimed(jobs)
    with pytest.raises(RuntimeError):
        await jobs.complete(running)
    assert seen == ["succeeded"]
    assert (await jobs.get(alice, running.id)).status == "running"


CLAIM = """
import asyncio, json, sys
from serving.store.relational.database import Database
from serving.store.jobs.queue import Jobs
async def main():
    database = Database(sys.argv[1])
    jobs, mine = Jobs(database), []
    print("ready", flush=True)
    sys.stdin.readline()
    while (job := await jobs.claim(["work"], sys.argv[2], 60)) is not None:
        if not mine:
            print("claimed", flush=True)
            sys.stdin.readline()  # until all have one: two could take the rest while the third is away
        mine.append(job.id)
        await asyncio.sleep(0.01)  # work, while others have their turn
        await jobs.complete(job)
    print(json.dumps(mine))
    await database.close()
asyncio.run(main())
"""


@uninterrupted
async def enqueue_many(database: Database, jobs: Jobs, principal: Principal, number: int) -> list[str]:
    async with database.write() as connection:
        return [(await jobs.enqueue(principal, "work", {}, connection=connection)).id for _ in range(number)]


@uninterrupted
async def statuses(database: Database) -> set[tuple[str, int]]:
    """Returns the distinct (status, attempts) of all jobs."""
    async with database.read() as connection:
        return {(s, n) for s, n in await connection.execute(select(table.c.status, table.c.attempts))}


async def test_concurrent_processes_claim_each_job_once(
    database: Database, jobs: Jobs, url: str, alice: Principal, spawn
) -> None:
    ids = await enqueue_many(database, jobs, alice, 60)
    processes = [spawn(CLAIM, url, f"worker-{n}") for n in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout.readline() == "claimed\n"  # every process has its part
    outputs = await asyncio.gather(*(asyncio.to_thread(p.communicate, "go on\n", 240) for p in processes))
    shares = [json.loads(out) for out, _ in outputs]
    assert sorted(id for share in shares for id in share) == sorted(ids)
    assert await statuses(database) == {("succeeded", 1)}
