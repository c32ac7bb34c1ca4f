from __future__ import annotations

import asyncio

from serving.security.principal import STACK, Principal
from serving.store.condition import Condition
from serving.store.database import Database
from serving.store.files import Files
from serving.store.ids import new_id, now
from serving.store.jobs import Jobs
from serving.store.users import ADMIN
from serving.store.vector_stores import INGEST, VectorStores

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


async def test_an_index_is_as_old_as_its_newest_ingested_document(
    database: Database, jobs: Jobs, files: Files, vector_stores: VectorStores
) -> None:
    async def attach(store: str) -> None:
        id = new_id("file")
        given = {"filename": "a.md", "purpose": "assistants", "bytes": 1, "sha256": "0" * 64, "kind": "text/plain"}
        await files.create(OWNER, id, **given)  # type: ignore[arg-type]
        await vector_stores.attach(OWNER, store, id)

    condition = Condition(database)
    docs, idle = [await vector_stores.create(OWNER, name=name) for name in ("docs", "idle")]
    theirs = await vector_stores.create(Principal(STACK, "alice", "key"), name="theirs")
    begun = now()
    await attach(docs.id)
    await attach(idle.id)
    names = {"docs", "idle", "theirs", "none"}
    assert await condition.ingested(STACK, ADMIN, names) == {}
    job = await jobs.claim([INGEST], "worker", 60)
    assert job is not None
    assert job.payload["vector_store_id"] == docs.id
    await jobs.complete(job, {"usage_bytes": 1})
    job = await jobs.claim([INGEST], "worker", 60)
    assert job is not None
    await jobs.fail(job, "broken", retryable=False)
    [(name, at)] = (await condition.ingested(STACK, ADMIN, names)).items()
    assert name == "docs"
    assert begun <= at <= now()
    assert await condition.ingested(STACK, ADMIN, {"idle"}) == {}
    assert theirs.name not in await condition.ingested(STACK, ADMIN, names)


async def test_the_newest_backup_is_noted(database: Database) -> None:
    condition = Condition(database)
    assert await condition.backed_up() is None
    before = now()
    await condition.note_backup()
    await condition.note_backup()
    found = await condition.backed_up()
    assert found is not None
    assert before <= found <= now()
