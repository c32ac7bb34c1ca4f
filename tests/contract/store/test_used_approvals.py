"""Approvals that were used, in both databases."""

from __future__ import annotations

import asyncio

from serving.core.ids import now
from serving.core.principal import Principal
from serving.store.relational.database import Database
from serving.store.used_approvals import KEPT_S, UsedApprovals


async def test_concurrent_uses_of_an_approval_succeed_once(database: Database, alice: Principal) -> None:
    used, expires_at = UsedApprovals(database), now() + 600
    assert await used.among(["a", "b"]) == set()
    assert sorted(await asyncio.gather(*(used.use(alice, "a", expires_at) for _ in range(4)))) == [False] * 3 + [True]
    assert await used.among(["a", "b"]) == {"a"}
    assert await used.use(alice, "b", expires_at)


async def test_expired_approvals_are_deleted(database: Database, alice: Principal) -> None:
    used = UsedApprovals(database)
    await used.use(alice, "old", now() - KEPT_S - 1)
    await used.use(alice, "late", now() - 1)  # another gateway's clock may say that it still holds
    assert await used.prune() == 1
    assert await used.among(["old", "late"]) == {"late"}
