"""A change of the embedder: searches go on while indexes are built anew behind them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.config import Catalog, Embedding, RemoteModel, SearchModels, SecretRef, ServingConfig, Store
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.retrieval import indexes, reindex
from serving.retrieval.replica import RetrievalReplica
from serving.store.relational.database import Database
from serving.store.upkeep.indexes import Indexes, StoreIndexes
from tests.contract.running import Loop, engine
from tests.servers.pooling import DIMENSIONS, PoolingEngine
from tests.store import migrated

ALICE = Principal(tenant="acme", user="alice", key_id="key_a")
WORDS = ("heron", "turbine", "mortgage", "violin", "glacier", "saffron", "bishop", "harbour")


@pytest.fixture
def hashed() -> Iterator[tuple[PoolingEngine, Catalog]]:
    """A remote embedder, and a catalogue whose retrieval searches with it."""
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
    """A replica over what others left in the folder. It ends as by a crash: its jobs stay claimed."""
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
    """Asks for one word after the other, and counts what is not found first."""

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
                # One that was detached meanwhile may or may not be found.
                if word in self.words and (not hits or hits[0].file_name != f"{word}.md"):
                    self.wrong.append(f"{word}: {[hit.file_name for hit in hits]}")

    async def until_cancelled(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(0)


async def test_searches_go_on_while_another_embedder_takes_over(
    tmp_path: Path, hashed: tuple[PoolingEngine, Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are as small as can be; documents come and go between them, and the replica dies in the middle."""
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
        # Its first parts: then it is gone.
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
        # Where the embedder fails, searches go by words alone.
        there.status = 500
        await again.once()
        assert again.wrong == []
        # The first embedder again: what was built for the other goes.
        there.status = 200
        replica.configure(Catalog(models=catalog.models))
        async with asyncio.timeout(240):
            while (await replica._indexes.names.get(store)).live == opened.name:
                await asyncio.sleep(0.05)
        await again.once()
        assert again.wrong == []
        # With the store go all of its indexes.
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
