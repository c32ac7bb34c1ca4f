from __future__ import annotations

import asyncio
from typing import Any

from serving.core.ids import now
from serving.core.managed import CHECKED_AT, MANAGED
from serving.core.principal import STACK, Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.background.batches import BATCH, Batches, Line
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.tables import batch_lines
from serving.store.upkeep.condition import Condition
from serving.store.users import ADMIN
from serving.store.vector_stores import VectorStores

OWNER = Principal(STACK, ADMIN, "key")


async def test_waiting_jobs_are_those_due_and_unclaimed(jobs: Jobs, database: Database) -> None:
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


async def test_failed_batches_have_no_waiting_lines(jobs: Jobs, database: Database) -> None:
    batches, condition = Batches(database, jobs), Condition(database)
    asked: dict[str, Any] = {"caller": {}, "endpoint": "/v1/embeddings", "lasts_s": 60, "metadata": None}
    broken, going_on = [await batches.create(OWNER, input_file_id="file-1", **asked) for _ in range(2)]
    for batch in (broken, going_on):
        await batches.begin(batch, 5)
        for number, status in ((1, 200), (2, 200), (3, 404)):
            await batches.answer(batch, Line(number, "req", status, "{}"), 0)
    assert (await condition.batches())[0] == 4
    held = await jobs.claim([BATCH], "worker", 60)
    assert held is not None
    await jobs.fail(held, "boom", retryable=False)
    ended = await batches.get(OWNER, held.payload["batch_id"])
    assert (ended.status, ended.total, ended.completed, ended.failed) == ("failed", 5, 2, 1)
    assert await batches.answered(ended.id) == set()
    left = {"batch_id": ended.id, "number": 1, "tenant": STACK, "request_id": "req", "status_code": 200, "body": "{}"}
    insert = uninterrupted(database.group_commit)
    await insert(lambda connection: connection.execute(batch_lines.insert(), left))  # for which nobody waits
    assert (await condition.batches())[0] == 2
