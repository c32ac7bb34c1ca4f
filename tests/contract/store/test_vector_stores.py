from __future__ import annotations

import json

import pytest

from serving.core.principal import Principal
from serving.store.errors import InvalidValue, NotFound
from serving.store.jobs.queue import Jobs
from serving.store.vector_stores import DROP_INDEX, INGEST, UNINDEX, FileCounts, VectorStores


async def run(jobs: Jobs, kind: str = INGEST):
    job = await jobs.claim([kind], "worker", 10)
    assert job is not None
    return job


async def test_a_vector_store_is_stored_changed_and_deleted_by_its_owner_only(
    vector_stores: VectorStores, alice: Principal, mallory: Principal
) -> None:
    made = await vector_stores.create(alice, name="docs", metadata={"team": "x"})
    assert await vector_stores.get(alice, made.id) == made
    assert (made.status, made.file_counts.total, made.usage_bytes) == ("completed", 0, 0)
    changed = await vector_stores.update(alice, made.id, name="new")
    assert (changed.name, changed.metadata) == ("new", {"team": "x"})
    assert changed.last_active_at > made.last_active_at
    for call in (
        vector_stores.get(mallory, made.id),
        vector_stores.update(mallory, made.id, name="mine"),
        vector_stores.delete(mallory, made.id),
        vector_stores.list_files(mallory, made.id),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await vector_stores.get(alice, made.id)).name == "new"
    await vector_stores.delete(alice, made.id)
    with pytest.raises(NotFound):
        await vector_stores.get(alice, made.id)


async def test_list_by_name(vector_stores: VectorStores, alice: Principal, mallory: Principal) -> None:
    docs = [await vector_stores.create(alice, name="docs") for _ in range(2)]
    await vector_stores.create(alice, name="other")
    await vector_stores.create(mallory, name="docs")
    found = await vector_stores.list(alice, name="docs", order="asc")
    assert [s.id for s in found.items] == [s.id for s in docs]
    assert len((await vector_stores.list(alice)).items) == 3


async def test_invalid_values_are_rejected(vector_stores: VectorStores, alice: Principal, add_file) -> None:
    for bad in ({"name": "x" * 257}, {"metadata": {"a": 1}}):
        with pytest.raises(InvalidValue):
            await vector_stores.create(alice, **bad)
    store, file = await vector_stores.create(alice), await add_file(alice)
    with pytest.raises(InvalidValue, match="attributes"):
        await vector_stores.attach(alice, store.id, file, attributes={"a": "x" * 513})
    assert (await vector_stores.list_files(alice, store.id)).items == []


async def test_ingestion_decides_the_status(
    vector_stores: VectorStores, jobs: Jobs, alice: Principal, add_file
) -> None:
    store = await vector_stores.create(alice)
    ids = [await add_file(alice) for _ in range(4)]
    attaching = []
    for id in ids:
        attached = await vector_stores.attach(alice, store.id, id, attributes={"n": 1})
        assert attached.status == "in_progress"
        attaching.append(attached.job_id)
    assert (await vector_stores.get(alice, store.id)).status == "in_progress"
    done = await run(jobs)
    assert done.payload == {"vector_store_id": store.id, "file_id": ids[0]}
    counted = {"characters": 9, "characters_in_chunks": 8, "unread_pages": 0}
    await jobs.complete(done, {"usage_bytes": 70, "extraction": counted})
    await jobs.fail(await run(jobs), "not a PDF", code="unsupported_file", retryable=False)
    await jobs.cancel(alice, attaching[2])
    store = await vector_stores.get(alice, store.id)
    assert store.file_counts == FileCounts(in_progress=1, completed=1, failed=1, cancelled=1)
    assert (store.file_counts.total, store.usage_bytes) == (4, 70)
    assert (await vector_stores.get_file(alice, store.id, ids[0])).extraction == counted
    failed = await vector_stores.list_files(alice, store.id, status="failed")
    assert [(f.file_id, f.error_code, f.error_message) for f in failed.items] == [
        (ids[1], "unsupported_file", "not a PDF")
    ]


async def test_attachment_whose_worker_always_dies_fails(
    vector_stores: VectorStores, jobs: Jobs, alice: Principal, add_file
) -> None:
    store, file = await vector_stores.create(alice), await add_file(alice)
    await vector_stores.attach(alice, store.id, file)
    for _ in range(5):
        assert await jobs.claim([INGEST], "worker", 0) is not None
    assert await jobs.claim([INGEST], "worker", 0) is None
    found = await vector_stores.get_file(alice, store.id, file)
    assert (found.status, found.error_code) == ("failed", "server_error")


async def test_a_file_attached_again_is_ingested_after_its_running_job(
    vector_stores: VectorStores, jobs: Jobs, alice: Principal, add_file
) -> None:
    store, file = await vector_stores.create(alice), await add_file(alice)
    first = await vector_stores.attach(alice, store.id, file, attributes={"n": 1})
    assert await vector_stores.attach(alice, store.id, file, attributes={"n": 1}) == first
    running = await run(jobs)
    second = await vector_stores.attach(alice, store.id, file, attributes={"n": 2})
    assert second.extraction is None
    assert second.job_id != first.job_id
    assert await jobs.claim([INGEST], "other", 10) is None  # the first is still at work on this file
    await jobs.complete(running, {"usage_bytes": 5})
    assert (await vector_stores.get_file(alice, store.id, file)).status == "in_progress"  # not its business
    await jobs.complete(await run(jobs), {"usage_bytes": 6})
    found = await vector_stores.get_file(alice, store.id, file)
    assert (found.status, found.usage_bytes, found.attributes) == ("completed", 6, {"n": 2})


async def test_a_detached_file_is_unindexed_after_its_running_job(
    vector_stores: VectorStores, jobs: Jobs, alice: Principal, mallory: Principal, add_file
) -> None:
    store, file = await vector_stores.create(alice), await add_file(alice)
    await vector_stores.attach(alice, store.id, file)
    with pytest.raises(NotFound):
        await vector_stores.detach(mallory, store.id, file)
    running = await run(jobs)
    await vector_stores.detach(alice, store.id, file)
    with pytest.raises(NotFound):
        await vector_stores.get_file(alice, store.id, file)
    assert (await jobs.get(alice, running.id)).cancel_requested
    assert await jobs.claim([UNINDEX], "other", 10) is None  # it might be undone by the ingestion still running
    await jobs.release(running)
    assert (await run(jobs, UNINDEX)).payload == {"vector_store_id": store.id, "file_id": file}
    with pytest.raises(NotFound):
        await vector_stores.detach(alice, store.id, file)


async def test_delete_waits_for_its_ingestions(
    vector_stores: VectorStores, jobs: Jobs, alice: Principal, add_file
) -> None:
    store, file = await vector_stores.create(alice), await add_file(alice)
    await vector_stores.attach(alice, store.id, file)
    await vector_stores.attach(alice, store.id, await add_file(alice))
    running = await run(jobs)
    await vector_stores.delete(alice, store.id)
    assert [j.status for j in (await jobs.list(alice, kind=INGEST)).items] == ["cancelled", "running"]
    assert await jobs.claim([DROP_INDEX], "other", 10) is None
    assert (await jobs.release(running)).status == "cancelled"
    assert (await run(jobs, DROP_INDEX)).payload == {"vector_store_id": store.id, "indexes": [store.id]}
    assert await jobs.claim([INGEST], "other", 10) is None


async def test_tenants_do_not_mix(vector_stores: VectorStores, alice: Principal, mallory: Principal, add_file) -> None:
    store, file = await vector_stores.create(alice), await add_file(alice)
    foreign_store, foreign_file = await vector_stores.create(mallory), await add_file(mallory)
    for who, s, f in (
        (alice, store.id, foreign_file),
        (alice, foreign_store.id, file),
        (mallory, store.id, foreign_file),
        (mallory, foreign_store.id, file),
    ):
        with pytest.raises(NotFound):
            await vector_stores.attach(who, s, f)
    await vector_stores.attach(alice, store.id, file)
    with pytest.raises(NotFound):
        await vector_stores.get_file(mallory, store.id, file)


async def test_same_file_in_two_stores_pages_apart(vector_stores: VectorStores, alice: Principal, add_file) -> None:
    stores = [await vector_stores.create(alice) for _ in range(2)]
    ids = [await add_file(alice) for _ in range(3)]
    for store, order in zip(stores, (ids, ids[::-1]), strict=True):
        for id in order:
            await vector_stores.attach(alice, store.id, id)
    found = await vector_stores.list_files(alice, stores[1].id, after=ids[2], limit=1, order="asc")
    assert [f.file_id for f in found.items] == [ids[1]]
    assert found.has_more


async def test_attributes_are_reindexed_only_after_changes(
    vector_stores: VectorStores, alice: Principal, mallory: Principal, add_file
) -> None:
    store, files = await vector_stores.create(alice), [await add_file(alice) for _ in range(3)]
    for file, team in zip(files, ("legal", "sales", "legal"), strict=True):
        await vector_stores.attach(alice, store.id, file, attributes={"team": team, "Ü": 1.5})

    async def groups(known=None):
        version, found = await vector_stores.attribute_groups(alice.tenant, store.id, known)
        return version, found and {json.loads(text)["team"]: set(ids) for text, ids in found.items()}

    version, found = await groups()
    assert found == {"legal": {files[0], files[2]}, "sales": {files[1]}}
    assert await groups(version) == (version, None)
    changed = await vector_stores.update_file(alice, store.id, files[0], {"team": "sales", "Ü": 1.5})
    assert changed == await vector_stores.get_file(alice, store.id, files[0])
    version, found = await groups(version)
    assert found == {"legal": {files[2]}, "sales": {files[0], files[1]}}
    await vector_stores.detach(alice, store.id, files[1])
    assert await groups(version) != (version, None)
    assert await vector_stores.attributes(alice, store.id, files) == {
        files[0]: {"team": "sales", "Ü": 1.5},
        files[2]: {"team": "legal", "Ü": 1.5},
    }
    assert await vector_stores.attributes(mallory, store.id, files) == {}
    assert (await vector_stores.attribute_groups(mallory.tenant, store.id, None))[1] == {}
    with pytest.raises(NotFound):
        await vector_stores.update_file(mallory, store.id, files[0], {})
    with pytest.raises(NotFound):
        await vector_stores.update_file(alice, store.id, files[1], {})
