from __future__ import annotations

from dataclasses import replace

import pytest

from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.access import Access
from serving.store.attachments.attaching import NewFile
from serving.store.attachments.file_batches import FileBatches
from serving.store.errors import InvalidValue, NotFound, NotOwner
from serving.store.files import Files
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.tables import file_batch_files, file_batches
from serving.store.relational.tables import files as files_table
from serving.store.vector_stores import INGEST, FileCounts, VectorStores


@pytest.fixture
def batches(database: Database, jobs: Jobs) -> FileBatches:
    return FileBatches(database, jobs)


async def ingest(jobs: Jobs, *, fails: bool = False) -> str:
    job = await jobs.claim([INGEST], "worker", 10)
    assert job is not None
    if fails:
        await jobs.fail(job, "not a PDF", code="unsupported_file", retryable=False)
    else:
        await jobs.complete(job, {"usage_bytes": 7})
    return str(job.payload["file_id"])


def named(ids: list[str], **asked: object) -> list[NewFile]:
    return [NewFile(id, **asked) for id in ids]  # type: ignore[arg-type]


async def test_a_batch_is_as_far_as_its_files(
    batches: FileBatches, vector_stores: VectorStores, jobs: Jobs, alice: Principal, add_file
) -> None:
    store = await vector_stores.create(alice)
    ids = [await add_file(alice) for _ in range(3)]
    made = await batches.create(alice, store.id, named(ids[:2], attributes={"n": 1}))
    assert (made.status, made.file_counts) == ("in_progress", FileCounts(in_progress=2))
    assert await ingest(jobs, fails=True) == ids[0], "files are ingested in the order of the batch"
    assert await ingest(jobs) == ids[1]
    done = await batches.get(alice, store.id, made.id)
    assert (done.status, done.file_counts) == ("completed", FileCounts(completed=1, failed=1))

    # A file that is there already counts at once, and one that failed is ingested anew, for both batches.
    second = await batches.create(alice, store.id, named(ids, attributes={"n": 1}))
    assert second.file_counts == FileCounts(in_progress=2, completed=1)
    assert (await batches.get(alice, store.id, made.id)).status == "in_progress"
    page = await batches.list_files(alice, store.id, second.id, status="in_progress", limit=1)
    rest = await batches.list_files(
        alice, store.id, second.id, status="in_progress", limit=5, after=page.items[0].file_id
    )
    assert page.has_more
    assert {f.file_id for f in (*page.items, *rest.items)} == {ids[0], ids[2]}

    with pytest.raises(InvalidValue, match="no such object"):
        await batches.list_files(alice, store.id, made.id, after=ids[2])  # a file of the store, in the other batch

    await vector_stores.detach(alice, store.id, ids[1])
    assert (await batches.get(alice, store.id, second.id)).file_counts == FileCounts(in_progress=2)
    for _ in range(2):
        await ingest(jobs, fails=True)
    assert (await batches.get(alice, store.id, second.id)).status == "failed"


async def test_a_cancelled_batch_keeps_completed_files(
    batches: FileBatches, vector_stores: VectorStores, jobs: Jobs, alice: Principal, add_file
) -> None:
    store = await vector_stores.create(alice)
    ids = [await add_file(alice) for _ in range(3)]
    await vector_stores.attach(alice, store.id, ids[0])
    made = await batches.create(alice, store.id, named(ids[1:]))
    await ingest(jobs)
    await ingest(jobs)
    assert (await batches.cancel(alice, store.id, made.id)).file_counts == FileCounts(completed=1, cancelled=1)
    assert (await batches.get(alice, store.id, made.id)).status == "cancelled"
    assert await jobs.claim([INGEST], "worker", 10) is None
    again = await batches.create(alice, store.id, named(ids[1:]))
    await ingest(jobs)
    assert (await batches.cancel(alice, store.id, again.id)).status == "completed", "there was nothing to cancel"


async def test_a_batch_attaches_all_files_or_none(
    batches: FileBatches,
    files: Files,
    vector_stores: VectorStores,
    jobs: Jobs,
    alice: Principal,
    mallory: Principal,
    add_file,
) -> None:
    bob = replace(alice, user="bob")
    store = await vector_stores.create(alice)
    ids = [await add_file(alice) for _ in range(2)]
    given = {"filename": "b.md", "purpose": "assistants", "bytes": 3, "sha256": "0" * 64, "kind": "text/plain"}
    bobs = (await files.create(bob, new_id("file"), access=Access(), **given)).id
    for wrong in (bobs, "file_0"):
        with pytest.raises(NotFound, match="file") as refused:
            await batches.create(alice, store.id, named([*ids, wrong]))
        assert refused.value.id == wrong
    with pytest.raises(InvalidValue, match="attributes"):
        await batches.create(alice, store.id, [NewFile(ids[0]), NewFile(ids[1], {"a": "x" * 513})])
    assert (await vector_stores.list_files(alice, store.id)).items == []
    assert await jobs.claim([INGEST], "worker", 10) is None
    made = await batches.create(alice, store.id, named(ids))
    other = await vector_stores.create(alice)
    for call in (
        batches.get(mallory, store.id, made.id),
        batches.cancel(mallory, store.id, made.id),
        batches.list_files(mallory, store.id, made.id),
        batches.create(mallory, store.id, named(ids)),
        batches.get(alice, other.id, made.id),
        batches.list_files(alice, other.id, made.id),
    ):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(NotOwner):
        await batches.cancel(bob, store.id, made.id)
    private = await vector_stores.update(alice, store.id, access=Access())
    for call in (batches.get(bob, private.id, made.id), batches.list_files(bob, private.id, made.id)):
        with pytest.raises(NotFound):
            await call


async def test_a_batch_is_deleted_with_its_vector_store_and_a_file_with_its_rows(
    batches: FileBatches, database: Database, files: Files, vector_stores: VectorStores, alice: Principal, add_file
) -> None:
    store = await vector_stores.create(alice)
    ids = [await add_file(alice) for _ in range(2)]
    await batches.create(alice, store.id, named(ids))

    @uninterrupted
    async def rows() -> tuple[int, list[str]]:
        async with database.read() as connection:
            made = (await connection.execute(file_batches.select())).all()
            return len(made), [row.file_id for row in await connection.execute(file_batch_files.select())]

    await files.delete(alice, ids[0])
    assert await rows() == (1, [ids[1]])
    await vector_stores.delete(alice, store.id)
    assert await rows() == (0, [])


async def test_many_files_are_one_transaction(
    batches: FileBatches, database: Database, vector_stores: VectorStores, alice: Principal, add_file
) -> None:
    store, first = await vector_stores.create(alice), await add_file(alice)
    ids = [f"file_{number}" for number in range(299)]

    @uninterrupted
    async def copies() -> None:
        async with database.write() as connection:
            row = dict((await connection.execute(files_table.select())).mappings().one())
            await connection.execute(files_table.insert(), [row | {"id": id} for id in ids])

    await copies()
    made = await batches.create(alice, store.id, named([first, *ids]))
    assert made.file_counts == FileCounts(in_progress=300)
    assert (await batches.cancel(alice, store.id, made.id)).file_counts == FileCounts(cancelled=300)
