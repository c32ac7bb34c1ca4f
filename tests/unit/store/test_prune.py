"""Ended jobs go after a while; unfinished ones never."""

from __future__ import annotations

from serving.security.principal import Principal
from serving.store.jobs import Jobs

ME = Principal(tenant="t", user="u", key_id="k")


async def test_only_old_ended_jobs_are_pruned(jobs: Jobs):
    ended, waiting = await jobs.enqueue(ME, "a", {}), await jobs.enqueue(ME, "b", {})
    await jobs.cancel(ME, ended.id)
    assert await jobs.prune(3600) == 0
    assert await jobs.prune(-1) == 1
    assert [j.id for j in (await jobs.list(ME)).items] == [waiting.id]
