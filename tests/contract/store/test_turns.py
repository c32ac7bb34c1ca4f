"""Tenants take turns, and erasures have a lane of their own: said by the order of claims alone."""

from __future__ import annotations

import pytest

from serving.core.principal import Principal
from serving.store.jobs.job import COMPACT, ERASE, ERASURE
from serving.store.jobs.queue import Job, Jobs

HOSTILE, OTHER, THIRD = (Principal(tenant=name, user="u", key_id="k") for name in ("a-hostile", "m-other", "z-third"))


async def fill(jobs: Jobs, *whose: Principal) -> None:
    for n, each in enumerate(whose):
        await jobs.enqueue(each, "work", {"n": n})


async def claimed(jobs: Jobs, kind: str = "work", lane: str | None = None) -> Job:
    job = await jobs.claim([kind], "w", 60, lane=lane)
    assert job is not None
    return job


async def served(jobs: Jobs, times: int) -> str:
    """Returns the first letters of the tenants that one worker serves, one job after the other."""
    order = ""
    for _ in range(times):
        job = await claimed(jobs)
        order += job.tenant[0]
        await jobs.complete(job)
    return order


async def test_tenants_with_many_jobs_take_turns(jobs: Jobs) -> None:
    await fill(jobs, *[HOSTILE] * 5, OTHER, OTHER, THIRD)
    assert await served(jobs, 4) == "amza"
    await fill(jobs, *[HOSTILE] * 3, THIRD)
    assert await served(jobs, 4) == "mzaa"


async def test_a_tenants_own_jobs_keep_their_order(jobs: Jobs) -> None:
    await fill(jobs, HOSTILE, OTHER, HOSTILE, HOSTILE)
    found = [await claimed(jobs) for _ in range(4)]
    assert [job.payload["n"] for job in found if job.tenant == HOSTILE.tenant] == [0, 2, 3]


async def test_a_tenant_occupies_one_worker_while_others_wait(jobs: Jobs) -> None:
    await fill(jobs, *[HOSTILE] * 9, OTHER, THIRD, OTHER)
    running = [await claimed(jobs) for _ in range(4)]
    assert "".join(sorted(job.tenant[0] for job in running[:3])) == "amz"
    assert running[3].tenant == HOSTILE.tenant  # each has one: the round goes on
    assert (await claimed(jobs)).tenant == OTHER.tenant
    assert [(await claimed(jobs)).tenant for _ in range(2)] == [HOSTILE.tenant] * 2  # nobody else waits
    await fill(jobs, THIRD)
    assert (await claimed(jobs)).tenant == THIRD.tenant


async def test_retried_jobs_get_no_extra_turns(jobs: Jobs) -> None:
    await fill(jobs, HOSTILE, OTHER, OTHER, OTHER)
    order = ""
    for _ in range(6):
        job = await claimed(jobs)
        order += job.tenant[0]
        if job.tenant == HOSTILE.tenant:
            await jobs.release(job)
        else:
            await jobs.complete(job)
    assert order == "amamam"


@pytest.mark.parametrize("kind", [ERASE, COMPACT])
async def test_erasures_wait_for_no_documents(jobs: Jobs, kind: str) -> None:
    await fill(jobs, *[HOSTILE] * 9)
    erasure = await jobs.enqueue(HOSTILE, kind, {})
    assert await jobs.claim([kind, "work"], "w", 60, lane="") is not None
    found = await jobs.claim([kind, "work"], "w", 60, lane=ERASURE)
    assert found is not None
    assert found.id == erasure.id
    assert await jobs.claim([kind, "work"], "w", 60, lane=ERASURE) is None


async def test_only_erasure_jobs_use_the_erasure_lane(jobs: Jobs) -> None:
    erasure = await jobs.enqueue(OTHER, ERASE, {})
    pretends = Principal(tenant=HOSTILE.tenant, user=erasure.id, key_id="k")
    colleague = Principal(tenant=OTHER.tenant, user=erasure.id, key_id="key_1")
    await jobs.enqueue(Principal(tenant=OTHER.tenant, user=erasure.id, key_id=erasure.id), "early", {})
    assert await jobs.claim(["early"], "w", 60, lane=ERASURE) is None  # it has not begun, so nothing follows
    await claimed(jobs, ERASE, ERASURE)
    follows = Principal(tenant=OTHER.tenant, user=erasure.id, key_id=erasure.id)
    await jobs.enqueue(pretends, "work", {})
    await jobs.enqueue(colleague, "theirs", {})
    await jobs.enqueue(follows, "work", {})
    assert (await claimed(jobs, lane=ERASURE)).tenant == OTHER.tenant
    assert await jobs.claim(["work", "theirs"], "w", 60, lane=ERASURE) is None
    assert (await claimed(jobs, lane="")).tenant == HOSTILE.tenant
