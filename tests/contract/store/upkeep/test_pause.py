"""The pause of jobs during a backup."""

from __future__ import annotations

import asyncio

import pytest

from serving.core.uninterrupted import uninterrupted
from serving.store.errors import StoreUnavailable
from serving.store.jobs import pause as pause_module
from serving.store.jobs.pause import paused
from tests.contract.store.upkeep.archive_state import ME, States


async def test_a_pause_stops_background_work_and_expires(new_state: States) -> None:
    state = new_state()
    await state.fill()
    await state.jobs.enqueue(ME, "work", {})
    async with paused(state.database, patience_s=1, say=print) as still:
        assert await state.jobs.claim(["work"], "w", 10) is None
        with pytest.raises(StoreUnavailable, match="another backup or restore"):
            async with paused(state.database, patience_s=1, say=print):
                pass
        still()
    assert await state.jobs.claim(["work"], "w", 10) is not None
    with pytest.raises(StoreUnavailable, match="1 jobs still run after 0 s"):
        async with paused(state.database, patience_s=0, say=print):
            pass
    assert await state.jobs.claim(["work"], "w", 10) is None  # nothing is left to claim, and nothing is paused
    assert "paused" not in {row["key"] for row in (await state.rows())["meta"]}


async def test_pause_of_a_killed_backup_ends(new_state: States, monkeypatch: pytest.MonkeyPatch) -> None:
    state = new_state()
    await state.database.migrate()
    await state.jobs.enqueue(ME, "work", {})
    await pause_module._begin(state.database, "pause_dead")
    assert await state.jobs.claim(["work"], "w", 10) is None
    moment = pause_module.now() + pause_module.LEASE_S + 1
    monkeypatch.setattr(pause_module, "now", lambda: moment)
    assert await state.jobs.claim(["work"], "w", 10) is not None


async def test_pause_waits_for_claims_under_way(new_state: States) -> None:
    """Whoever looked before the pause began commits its claim first, so that the pause sees it."""
    state = new_state()
    await state.database.migrate()
    began = asyncio.Event()

    async def pause() -> None:
        async with paused(state.database, patience_s=60, say=lambda _: None):
            began.set()

    @uninterrupted
    async def claim() -> asyncio.Task[None]:
        async with state.database.write() as connection:
            assert not await pause_module.active(connection, claiming=True)
            pausing = asyncio.create_task(pause())
            await asyncio.sleep(0.5)
            assert not began.is_set()
        return pausing

    await (await claim())
    assert began.is_set()
