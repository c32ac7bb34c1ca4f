"""The drill: make data, back up, lose everything, restore, and find the same."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from serving.store.jobs.worker import JobContext, Worker
from serving.store.objects import data
from serving.store.upkeep.archive import NotEmpty
from serving.store.upkeep.condition import Condition
from serving.store.vector_stores import INGEST
from tests.contract.store.upkeep.archive_state import ME, States, same


async def test_a_backup_restores_a_lost_state(new_state: States, tmp_path: Path) -> None:
    state = new_state()
    store_id = await state.fill()
    rows, contents, hits = await state.rows(), state.contents(), state.search(store_id)
    assert await Condition(state.database).backed_up() is None
    path = await state.save(tmp_path)
    assert await Condition(state.database).backed_up() is not None
    assert path.name.startswith("headrace-2")
    assert path.stat().st_mode & 0o777 == 0o600
    # All is lost: another database, another folder.
    shutil.rmtree(state.store.data)
    new = new_state()
    await new.load(path)
    assert await new.rows() == rows
    assert new.contents() == contents
    assert new.search(store_id) == hits
    # And life goes on: ids are given, jobs are numbered and done.
    id = await new.upload(b"an otter")
    await new.vector_stores.attach(ME, store_id, id)
    job = (await new.jobs.list(ME, kind=INGEST)).items[0]
    assert job.payload["file_id"] == id
    claimed = await new.jobs.claim([INGEST], "w", 10)
    assert claimed is not None
    await new.jobs.complete(claimed, await new.ingest(JobContext(new.jobs, claimed, 10)))
    assert (await new.vector_stores.get(ME, store_id)).file_counts.completed == 3


async def test_a_backup_moves_a_state_between_sqlite_and_postgresql(
    new_state: States, postgres, tmp_path: Path
) -> None:
    state = new_state()
    store_id = await state.fill()
    path = await state.save(tmp_path / "a.tar")
    other = f"sqlite:///{tmp_path}/other.db" if not state.database.is_sqlite else postgres.database()
    moved = new_state(url=other)
    await moved.load(path)
    await same(state, moved, store_id)


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
async def test_a_backup_moves_a_state_between_buckets_and_folders(new_state: States, s3, tmp_path: Path) -> None:
    one, two = (new_state(where=s3.store().data, endpoint=s3.endpoint) for _ in range(2))
    store_id = await one.fill()
    path = await one.save(tmp_path / "a.tar")
    await two.load(path)
    await same(one, two, store_id)
    # And out of the bucket into a folder.
    three = new_state()
    await three.load(path)
    await same(one, three, store_id)


async def test_existing_data_is_kept_without_force(new_state: States, tmp_path: Path) -> None:
    state = new_state()
    await state.fill()
    path = await state.save(tmp_path / "a.tar")
    other = new_state()
    store_id = await other.fill()
    before = await other.rows(), other.contents(), other.search(store_id)
    with pytest.raises(NotEmpty, match="--force"):
        await other.load(path)
    assert (await other.rows(), other.contents(), other.search(store_id)) == before
    await other.load(path, force=True)
    assert (await other.rows(), other.contents()) == (await state.rows(), state.contents())
    assert {name.split(".")[0] for name, _ in data.place(other.store, data.COLLECTIONS).names()} == {
        name.split(".")[0] for name, _ in data.place(state.store, data.COLLECTIONS).names()
    }


async def test_a_stack_that_only_has_its_first_key_is_empty(new_state: States, tmp_path: Path) -> None:
    state = new_state()
    await state.fill()
    path = await state.save(tmp_path / "a.tar")
    fresh = new_state()
    await fresh.database.migrate()
    await fresh.keys.add_bootstrap("b" * 64)
    await fresh.load(path)
    assert await fresh.rows() == await state.rows()


async def test_backup_of_a_live_stack_fits_together(new_state: States, tmp_path: Path) -> None:
    """While files come, go and are ingested, every archive holds for each row its content and its chunks."""
    state = new_state()
    store_id = await state.fill()

    async def unindex(context: JobContext) -> None:
        index = state.index(context.job.payload["vector_store_id"])
        await asyncio.to_thread(index.delete_file, "acme", context.job.payload["file_id"])

    async def delete_blob(context: JobContext) -> None:
        await state.blobs.delete(context.principal, context.job.payload["file_id"])

    handlers = {INGEST: state.ingest, "unindex_file": unindex, "delete_blob": delete_blob}
    worker = Worker(state.jobs, handlers, poll_s=0.01)
    working = asyncio.create_task(worker.run())
    stop = asyncio.Event()

    async def busy() -> None:
        while not stop.is_set():
            id = await state.upload(os.urandom(50).hex().encode())
            await state.vector_stores.attach(ME, store_id, id)
            old = (await state.files.list(ME, order="asc", limit=20)).items
            if len(old) > 8:
                await state.files.delete(ME, old[3].id)

    load = asyncio.create_task(busy())
    paths = []
    for n in range(3):
        while await state.jobs.unfinished() == {("other", "queued"): 1}:
            await asyncio.sleep(0.01)
        paths.append(await state.save(tmp_path / f"{n}.tar"))
        assert not load.done()  # requests went on
    stop.set()
    await load
    worker.stop()
    await working
    for n, path in enumerate(paths):
        new = new_state()
        await new.load(path)
        contents = new.contents()
        rows = await new.rows()
        assert {f"files/acme/{row['id']}" for row in rows["files"]} <= contents.keys()
        table = new.index(store_id)._table.search().select(["file_id"]).to_arrow()
        indexed = set(table["file_id"].to_pylist())
        attached = {row["file_id"]: row["status"] for row in rows["vector_store_files"]}
        assert {id for id, status in attached.items() if status == "completed"} <= indexed, n
        # What is indexed and no longer attached waits for its removal.
        queued = {r["payload"].get("file_id") for r in rows["jobs"] if r["status"] == "queued"}
        assert indexed - attached.keys() <= queued, n
