"""A change of the embedder: searches continue while indexes are rebuilt in the background."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serving.config import JUDGE, Catalog, Embedding, RemoteModel, SearchModels, SecretRef, ServingConfig, Store
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.retrieval import indexes, ingest, reindex
from serving.retrieval.replica import RetrievalReplica
from serving.store.access import Access
from serving.store.relational.database import Database
from serving.store.relational.tables import jobs
from serving.store.upkeep.indexes import Indexes, StoreIndexes
from serving.store.vector_store import DROP_RETIRED, REINDEX
from tests.contract.running import Loop, engine
from tests.servers.pooling import DIMENSIONS, PoolingEngine
from tests.store import migrated

ALICE = Principal(tenant="acme", user="alice", key_id="key_a")
WORDS = ("heron", "turbine", "mortgage", "violin", "glacier", "saffron", "bishop", "harbour")


@pytest.fixture
def hashed() -> Iterator[tuple[PoolingEngine, Catalog]]:
    """A remote embedder, and a catalogue whose retrieval uses it."""
    there, loop = PoolingEngine(), Loop()
    with engine(loop, there.application()) as port:
        model = RemoteModel(
            name="hashed",
            url=f"http://127.0.0.1:{port}/v1",
            task="embed",
            embedding=Embedding(dimensions=DIMENSIONS),
            retries=0,
        )
        yield there, Catalog(models=(model,), search=SearchModels(embedder="hashed"))
    loop.stop()


@asynccontextmanager
async def running(folder: Path, catalog: Catalog | None = None) -> AsyncIterator[RetrievalReplica]:
    """A replica over the existing data of the folder. It ends as in a crash: its jobs stay claimed."""
    database = f"sqlite:///{folder / 'h.db'}"
    if not (folder / "h.db").exists():
        migrated.sqlite_at(database)
        (folder / "secret").write_text("s" * 40)
    secret = SecretRef(ref=f"file:{folder / 'secret'}")
    config = ServingConfig(store=Store(database=database, data=str(folder)), key_secret=secret)
    replica = RetrievalReplica(config)
    if catalog is not None:
        replica.configure(catalog)
    await replica.start()
    try:
        yield replica
    finally:
        tasks = [t for t in (replica._working, replica._housekeeping, replica._watching) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await replica._client.close()
        await replica._database.close()


async def add(replica: RetrievalReplica, store_id: str, word: str) -> str:
    text = f"# The {word}\n\nEverything that is known about the {word} stands here.\n".encode()
    file = new_id("file")
    blob = await replica._blobs.write(ALICE, file, io.BytesIO(text), max_bytes=10_000)
    about: dict[str, Any] = {"purpose": "assistants", "bytes": blob.bytes, "sha256": blob.sha256}
    await replica._files.create(ALICE, file, filename=f"{word}.md", kind="text/markdown", **about)
    await replica._stores.attach(ALICE, store_id, file)
    return file


async def settled(replica: RetrievalReplica) -> None:
    async with asyncio.timeout(300):
        while await replica._jobs.unfinished():
            await asyncio.sleep(0.02)


class Searching:
    """Searches for one word after the other, and counts searches whose first hit is not the right one."""

    def __init__(self, replica: RetrievalReplica, store_id: str) -> None:
        self.replica, self.store_id = replica, store_id
        self.words = list(WORDS)
        self.searches = 0
        self.wrong: list[str] = []

    async def once(self) -> None:
        for word in list(self.words):
            self.searches += 1
            try:
                hits = await self.replica.search(ALICE, self.store_id, f"What is known about the {word}?", 3)
            except Exception as e:
                self.wrong.append(f"{word}: {e!r}")
            else:
                # A file that was detached during the search may or may not be found.
                if word in self.words and (not hits or hits[0].file_name != f"{word}.md"):
                    self.wrong.append(f"{word}: {[hit.file_name for hit in hits]}")

    async def until_cancelled(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(0.1)  # without a pause, it would take the processor from what it waits for


@pytest.mark.full
async def test_searches_continue_during_a_change_of_the_embedder(
    tmp_path: Path, hashed: tuple[PoolingEngine, Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rebuild has minimal parts; documents are added and removed between them, and the replica is killed midway."""
    there, catalog = hashed
    monkeypatch.setattr(reindex, "PART_S", 0.0)
    monkeypatch.setattr(reindex, "FILES", 1)
    monkeypatch.setattr(reindex, "DROPPED_AFTER_S", 0.2)
    monkeypatch.setattr(indexes, "KNOWN_S", 0.05)
    async with running(tmp_path) as replica:
        store = (await replica._stores.create(ALICE, name="words")).id
        files = {word: await add(replica, store, word) for word in WORDS}
        await settled(replica)
        before = Searching(replica, store)
        await before.once()
        assert before.wrong == []
        # The replica builds the first parts, and is then killed.
        searching = Searching(replica, store)
        asking = asyncio.create_task(searching.until_cancelled())
        replica.configure(catalog)
        async with asyncio.timeout(120):
            while (await replica._indexes.names.get(store)).next is None:
                await asyncio.sleep(0.01)
        asking.cancel()
    names = await _names(tmp_path, store)
    assert names.live == store
    assert names.next is not None
    async with running(tmp_path, catalog) as replica:
        again = Searching(replica, store)
        asking = asyncio.create_task(again.until_cancelled())
        await add(replica, store, "juniper")
        again.words.remove("violin")
        await replica._stores.detach(ALICE, store, files["violin"])
        async with asyncio.timeout(240):
            while (await replica._indexes.names.get(store)).live == store:
                await replica._reindexing.begin()
                await asyncio.sleep(0.05)
            while (await replica._indexes.names.get(store)).retired:
                await asyncio.sleep(0.05)
        again.words.append("juniper")
        await settled(replica)
        passed = again.searches
        async with asyncio.timeout(60):
            while again.searches < passed + 2 * len(again.words):
                await asyncio.sleep(0.01)
        asking.cancel()
        assert searching.wrong == []
        assert again.wrong == []
        opened = await replica._indexes.searched(store)
        assert opened.embedder is not None
        assert opened.embedder.id.startswith("hashed-")
        assert opened.index.manifest.dimensions == DIMENSIONS
        assert {file for _, file in opened.index.files()} == {
            *(id for word, id in files.items() if word != "violin"),
            *(hit.file_id for hit in await replica.search(ALICE, store, "juniper", 1)),
        }
        assert sorted(path.name for path in (tmp_path / "collections").iterdir()) == [f"{opened.name}.lance"]
        # When the embedder fails, searches use keywords only.
        there.status = 500
        await again.once()
        assert again.wrong == []
        # Back to the first embedder: the index built for the other one is removed.
        there.status = 200
        replica.configure(Catalog(models=catalog.models))
        async with asyncio.timeout(240):
            while (await replica._indexes.names.get(store)).live == opened.name:
                await asyncio.sleep(0.05)
        await again.once()
        assert again.wrong == []
        # Deleting the vector store removes all of its indexes.
        await replica._stores.delete(ALICE, store)
        await settled(replica)
        assert list((tmp_path / "collections").iterdir()) == []


async def _names(folder: Path, store: str) -> StoreIndexes:
    database = Database.from_config(Store(database=f"sqlite:///{folder / 'h.db'}", data=str(folder)))
    await database.start()
    try:
        return await Indexes(database).get(store)
    finally:
        await database.close()


MINILM = Catalog(search=SearchModels(embedder=JUDGE))


@uninterrupted
async def bring_forward(replica: RetrievalReplica, kind: str) -> None:
    """Makes a job that is scheduled for later run at once."""
    async with replica._database.write() as connection:
        await connection.execute(jobs.update().where(jobs.c.kind == kind).values(run_after=0.0))


async def switched(replica: RetrievalReplica, store: str, live: str) -> StoreIndexes:
    async with asyncio.timeout(60):
        while (names := await replica._indexes.names.get(store)).live == live:
            await asyncio.sleep(0.02)
    return names


async def test_the_previous_release_keeps_its_index_during_an_upgrade(tmp_path: Path) -> None:
    """It knows one index per store, which is rebuilt late; documents it wrote until then are found afterwards."""
    async with running(tmp_path, MINILM) as replica:
        store = (await replica._stores.create(ALICE, name="words")).id
        await add(replica, store, "heron")
        await settled(replica)
        assert (await replica._indexes.names.get(store)).embedder is None
        replica.configure(Catalog())
        async with asyncio.timeout(60):
            while (REINDEX, "queued") not in await replica._jobs.unfinished():
                await asyncio.sleep(0.02)
        # Documents do not wait for the rebuild.
        late = await add(replica, store, "turbine")
        async with asyncio.timeout(60):
            while (await replica._stores.get_file(ALICE, store, late)).status != "completed":
                await asyncio.sleep(0.02)
        assert (await replica._indexes.names.get(store)) == StoreIndexes(store)
        await bring_forward(replica, REINDEX)
        names = await switched(replica, store, store)
        assert names.retired == (store,)
        old, new = map(replica._indexes.open, (store, names.live))
        # As a worker of the previous release does, which does not know the new index.
        assert old.index.files() == new.index.files()
        new.index.delete_file(ALICE.tenant, late)
        old.index.copy(with_file(old.index.rows_of([(ALICE.tenant, late)]), "file-gone"), np.zeros((1, 384), "f4"))
        await bring_forward(replica, DROP_RETIRED)
        async with asyncio.timeout(60):
            while (await replica._indexes.names.get(store)).retired:
                await asyncio.sleep(0.02)
        assert (ALICE.tenant, late) in new.index.files()
        assert (ALICE.tenant, "file-gone") not in new.index.files()
        assert [path.name for path in (tmp_path / "collections").iterdir()] == [f"{names.live}.lance"]


def with_file(rows: pa.Table, file_id: str) -> pa.Table:
    """Returns `rows` for another file, which has no row in the database."""
    for name in ("file_id", "chunk_id"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array([file_id] * len(rows)))
    return rows


async def test_a_replaced_index_is_removed_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replica that replaced the index was killed before it enqueued the removal of the old one."""
    monkeypatch.setattr(reindex, "DROPPED_AFTER_S", 0.1)
    async with running(tmp_path) as replica:
        store = (await replica._stores.create(ALICE, name="words")).id
        await add(replica, store, "heron")
        await settled(replica)
        current = replica._embedders.current.id
        await asyncio.to_thread(lambda: replica._indexes.open("left", create=True))
        left = StoreIndexes(store, None, ("left",), embedder=current)
        await replica._indexes.names.change(store, lambda _: left)
        assert await replica._reindexing.begin() == 0
        await settled(replica)
        assert [path.name for path in (tmp_path / "collections").iterdir()] == [f"{store}.lance"]
        assert (await replica._indexes.names.get(store)).retired == ()


async def test_access_lists_are_narrowed_in_an_index_without_its_embedder(
    tmp_path: Path, hashed: tuple[PoolingEngine, Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is still searched by keywords; the document waits for the new index."""
    _, catalog = hashed
    bob = Principal(ALICE.tenant, "bob", "key_b")
    monkeypatch.setattr(indexes, "KNOWN_S", 0.0)
    async with running(tmp_path, catalog) as replica:
        store = (await replica._stores.create(ALICE, name="words")).id
        file = await add(replica, store, "heron")
        await settled(replica)
        assert await replica.search(bob, store, "heron", 3)
        replica._reindexing.begin = nothing  # type: ignore[method-assign]
        replica.configure(Catalog())
        await asyncio.to_thread(lambda: replica._indexes.open("built", create=True))
        await replica._indexes.names.change(store, lambda at: at.begun("built"))
        await replica._stores.attach(ALICE, store, file, access=Access([], []))
        await settled(replica)
        assert (await replica._stores.get_file(ALICE, store, file)).status == "completed"
        assert await replica.search(bob, store, "heron", 3) == []
        built = await asyncio.to_thread(replica._indexes.open, "built")
        assert built.index.files() == {(ALICE.tenant, file)}


async def nothing() -> int:
    return 0


async def test_documents_and_indexes_wait_for_an_embedder_that_does_not_answer(
    tmp_path: Path, hashed: tuple[PoolingEngine, Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, catalog = hashed
    for module in (reindex, ingest):
        monkeypatch.setattr(module, "TRIED_AGAIN_S", 0.1)
    async with running(tmp_path) as replica:
        store = (await replica._stores.create(ALICE, name="words")).id
        await add(replica, store, "heron")
        await settled(replica)
        there.status = 500
        replica.configure(catalog)
        async with asyncio.timeout(60):
            while (await replica._indexes.names.get(store)).next is None:
                await asyncio.sleep(0.02)
        # The searched index accepts the document.
        late = await add(replica, store, "turbine")
        another = (await replica._stores.create(ALICE, name="others")).id
        first = await add(replica, another, "violin")  # its index uses the new embedder from the beginning
        async with asyncio.timeout(60):
            while (await replica._stores.get_file(ALICE, store, late)).status != "completed":
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        assert (await replica._stores.get_file(ALICE, another, first)).status == "in_progress"
        assert (await replica._indexes.names.get(store)).live == store
        there.status = 200
        names = await switched(replica, store, store)
        live = await asyncio.to_thread(replica._indexes.open, names.live)
        assert (ALICE.tenant, late) in live.index.files()
        async with asyncio.timeout(60):
            while (await replica._stores.get_file(ALICE, another, first)).status != "completed":
                await asyncio.sleep(0.02)
