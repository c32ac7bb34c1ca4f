from __future__ import annotations

import asyncio

from serving.core.ids import now
from serving.core.managed import CHECKED_AT, MANAGED
from serving.core.principal import STACK, Principal
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.upkeep.condition import Condition
from serving.store.users import ADMIN
from serving.store.vector_stores import VectorStores

OWNER = Principal(STACK, ADMIN, "key")


async def test_jobs_wait_while_they_are_due_and_nobody_works_on_them(jobs: Jobs, database: Database) -> None:
    condition = Condition(database)
    assert await condition.waiting() == {}
    await jobs.enqueue(OWNER, "later", {}, delay_s=3600)
    await jobs.enqueue(OWNER, "work", {})
    await jobs.enqueue(OWNER, "work", {})
    await jobs.enqueue(OWNER, "other", {})
    assert {kind: each.number for kind, each in (await condition.waiting()).items()} == {"work": 2, "other": 1}
    held = await jobs.claim(["work"], "worker", 60)
    lost = await jobs.claim(["other"], "worker", 0.01)
    assert held is not None
    assert lost is not None
    await asyncio.sleep(0.05)  # its lease runs out
    waiting = await condition.waiting()
    assert {kind: each.number for kind, each in waiting.items()} == {"work": 1, "other": 1}
    assert 0 < waiting["other"].oldest_s < waiting["work"].oldest_s


async def test_an_index_is_as_old_as_its_last_check(database: Database, vector_stores: VectorStores) -> None:
    condition, alice = Condition(database), Principal(STACK, "alice", "key")
    names = {"docs", "new", "wrong", "uploads", "theirs", "none"}
    begun = now()
    docs = await vector_stores.create(OWNER, name="docs", metadata=MANAGED | {CHECKED_AT: "1000"})
    await vector_stores.create(OWNER, name="docs", metadata=MANAGED | {CHECKED_AT: "900"})
    await vector_stores.create(OWNER, name="new", metadata=MANAGED)
    await vector_stores.create(OWNER, name="wrong", metadata=MANAGED | {CHECKED_AT: "yesterday"})
    await vector_stores.create(OWNER, name="uploads")
    await vector_stores.create(alice, name="theirs", metadata=MANAGED)
    checked = await condition.checked(STACK, ADMIN, names)
    assert checked.keys() == {"docs", "new", "wrong"}
    assert checked["docs"] == 1000
    assert min(checked["new"], checked["wrong"]) >= begun
    await vector_stores.update(OWNER, docs.id, metadata=MANAGED | {CHECKED_AT: "2000"})
    assert await condition.checked(STACK, ADMIN, {"docs"}) == {"docs": 2000}


async def test_the_newest_backup_is_noted(database: Database) -> None:
    condition = Condition(database)
    assert await condition.backed_up() is None
    before = now()
    await condition.note_backup()
    await condition.note_backup()
    found = await condition.backed_up()
    assert found is not None
    assert before <= found <= now()
