"""Approvals that were used, in both databases."""

from __future__ import annotations

import asyncio

from serving.core.ids import now
from serving.core.principal import Principal
from serving.store.relational.database import Database
from serving.store.used_approvals import KEPT_S, UsedApprovals


async def test_each_is_used_once_however_many_ask_for_it(database: Database, alice: Principal) -> None:
    used, expires_at = UsedApprovals(database), now() + 600
    assert await used.among(["a", "b"]) == set()
    assert sorted(await asyncio.gather(*(used.use(alice, "a", expires_at) for _ in range(4)))) == [False] * 3 + [True]
    assert await used.among(["a", "b"]) == {"a"}
    assert await used.use(alice, "b", expires_at)


async def test_what_has_long_expired_is_forgotten(database: Database, alice: Principal) -> None:
    used = UsedApprovals(database)
    await used.use(alice, "old", now() - KEPT_S - 1)
    await used.use(alice, "late", now() - 1)  # another gateway's clock may say that it still holds
    assert await used.prune() == 1
    assert await used.among(["old", "late"]) == {"late"}
