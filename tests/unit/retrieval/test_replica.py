"""What a replica of retrieval does by itself."""

from __future__ import annotations

import asyncio

import pytest

from serving.retrieval import replica as module
from serving.retrieval.replica import RetrievalReplica


async def test_a_task_of_housekeeping_that_fails_keeps_no_other_from_its_work(
    replica: RetrievalReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the bucket is away: what the database holds ends with its retention all the same, again and again."""
    done = {"retention": 0, "jobs": 0, "blobs": 0}

    def counting(name: str, *, fails: bool = False) -> object:
        async def task(*_: object) -> dict[str, int]:
            done[name] += 1
            if fails:
                raise OSError(f"{name} failed")
            return {}

        return task

    monkeypatch.setattr(module.retention, "prune", counting("retention", fails=True))
    monkeypatch.setattr(replica._jobs, "prune", counting("jobs"))
    monkeypatch.setattr(replica._blobs, "sweep", counting("blobs", fails=True))
    monkeypatch.setattr(module, "HOUSEKEEPING_S", 0.01)
    keeping = asyncio.create_task(replica._keep_house())
    async with asyncio.timeout(30):
        while min(done.values()) < 3:
            await asyncio.sleep(0.01)
    keeping.cancel()
