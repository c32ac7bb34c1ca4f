from __future__ import annotations

import pytest

from serving.core.principal import Principal
from serving.store.errors import InvalidValue, NotFound
from serving.store.files import DELETE_BLOB, Files
from serving.store.jobs.queue import Jobs
from serving.store.vector_stores import INGEST, UNINDEX, VectorStores


async def test_create_and_get(files: Files, alice: Principal, mallory: Principal) -> None:
    made = await files.create(
        alice, "file-1", filename="a.md", purpose="assistants", bytes=3, sha256="0" * 64, kind="text/markdown"
    )
    assert made.status == "processed"
    assert await files.get(alice, "file-1") == made
    for who, id in ((mallory, "file-1"), (alice, "file-2")):
        with pytest.raises(NotFound):
            await files.get(who, id)


@pytest.mark.parametrize("filename", ["", "x" * 257, "a\0", "\ud800"])
async def test_bad_names(files: Files, alice: Principal, filename: str) -> None:
    with pytest.raises(InvalidValue) as e:
        await files.create(
            alice, "file-1", filename=filename, purpose="assistants", bytes=3, sha256="0" * 64, kind="text/plain"
        )
    assert e.value.param == "filename"


async def test_files_are_listed_in_pages(files: Files, alice: Principal, mallory: Principal, add_file) -> None:
    ids = [await add_file(alice) for _ in range(5)]
    foreign = await add_file(mallory)
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        seen: list[str] = []
        after = None
        while True:
            found = await files.list(alice, limit=2, after=after, order=order)
            seen += [f.id for f in found.items]
            if not found.has_more:
                break
            after = seen[-1]
        assert seen == expected
    assert (await files.list(alice, purpose="batch")).items == []
    for bad in (foreign, "file-none"):
        with pytest.raises(InvalidValue, match="after"):
            await files.list(alice, after=bad)
    for limit in (0, -1, 10_001):
        with pytest.raises(InvalidValue, match="limit"):
            await files.list(alice, limit=limit)


async def test_pages_omit_no_file_of_the_same_instant(files: Files, alice: Principal, add_file, monkeypatch) -> None:
    monkeypatch.setattr("serving.store.files.now", lambda: 1000.0)
    ids = {await add_file(alice) for _ in range(5)}
    first = await files.list(alice, limit=3)
    second = await files.list(alice, limit=3, after=first.items[-1].id)
    assert {f.id for f in first.items + second.items} == ids
    assert not second.has_more


async def test_delete_reaches_everything(
    files: Files, vector_stores: VectorStores, jobs: Jobs, alice: Principal, mallory: Principal, add_file
) -> None:
    id, other = await add_file(alice), await add_file(alice)
    stores = [await vector_stores.create(alice) for _ in range(2)]
    for store in stores:
        await vector_stores.attach(alice, store.id, id)
        await vector_stores.attach(alice, store.id, other)
    with pytest.raises(NotFound):
        await files.delete(mallory, id)
    await files.delete(alice, id)
    with pytest.raises(NotFound):
        await files.get(alice, id)
    for store in stores:
        assert [f.file_id for f in (await vector_stores.list_files(alice, store.id)).items] == [other]
    found = (await jobs.list(alice, limit=100)).items
    of = {kind: [j for j in found if j.kind == kind and j.payload["file_id"] == id] for kind in (INGEST, UNINDEX)}
    assert [j.status for j in of[INGEST]] == ["cancelled"] * 2
    assert {j.payload["vector_store_id"] for j in of[UNINDEX]} == {store.id for store in stores}
    assert [j.payload for j in found if j.kind == DELETE_BLOB] == [{"file_id": id}]
    with pytest.raises(NotFound):
        await files.delete(alice, id)
