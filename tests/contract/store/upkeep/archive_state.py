"""A stack's state without the stack, with something of everything."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import select

from serving.assistants.register import AssistantRegister
from serving.config import Store
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.artefacts import Artefacts
from serving.hub.versions import Versions
from serving.protocol.assistants import AssistantSettings
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.types import Chunk
from serving.security.audit import AuditLog
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.feedback import Rating, Ratings
from serving.store.files import Files
from serving.store.idempotency import IdempotencyKeys, KeptAnswer, claim_of
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import JobContext, Worker
from serving.store.keys import Keys
from serving.store.memories import Memories
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.prompts.prompts import Prompts
from serving.store.relational.database import Database
from serving.store.relational.tables import meta, metadata
from serving.store.responses import NewResponse
from serving.store.sharing.shares import Shares
from serving.store.summaries import Summaries
from serving.store.tenants import Tenants
from serving.store.turn_vectors import TurnVectors
from serving.store.upkeep.archive import backup, restore
from serving.store.upkeep.condition import BACKED_UP
from serving.store.users import Users
from serving.store.vector_stores import INGEST, VectorStores
from tests.store.captures import TURN, capture

MANIFEST = CollectionManifest("test-embedder", 8, 200, 30, "1")


ME = Principal(tenant="acme", user="alice", key_id="key_a")


class State:
    """A stack's state without the stack."""

    def __init__(self, url: str, where: str, endpoint: str | None = None) -> None:
        self.store = Store(database=url, data=where, endpoint=endpoint)
        self.database = Database.from_config(self.store)
        self.jobs = Jobs(self.database, backoff_s=0.01)
        self.vector_stores = VectorStores(self.database, self.jobs)
        self.files = Files(self.database, self.jobs, self.vector_stores)
        self.blobs = Blobs(data.place(self.store, data.FILES))
        self.keys = Keys(self.database)
        self.conversations = Conversations(self.database)
        self.captures = Captures(self.database)
        self.ratings = Ratings(self.database)

    async def upload(self, content: bytes, name: str = "a.md") -> str:
        id = new_id("file")
        blob = await self.blobs.write(ME, id, io.BytesIO(content), max_bytes=len(content))
        given = {"filename": name, "purpose": "assistants", "bytes": blob.bytes, "sha256": blob.sha256}
        await self.files.create(ME, id, kind="text/plain", **given)
        return id

    def index(self, store_id: str, *, create: bool = False) -> CollectionIndex:
        uri, options = data.collections(self.store)
        return CollectionIndex.open(uri, store_id, MANIFEST, create=create, options=options)

    async def ingest(self, context: JobContext) -> dict[str, Any]:
        """What retrieval does, with the file's text as its only chunk."""
        store_id, file_id = context.job.payload["vector_store_id"], context.job.payload["file_id"]
        text = (await self.blobs.read(context.principal, file_id)).decode()
        chunk = Chunk(0, "Title", "Heading", text, 0, len(text), None)
        index = self.index(store_id, create=True)
        await asyncio.to_thread(index.upsert_file, "acme", file_id, "a.md", [chunk], np.eye(8, dtype=np.float32)[:1])
        await asyncio.to_thread(index.optimize)
        return {"usage_bytes": len(text)}

    async def work(self) -> None:
        worker = Worker(self.jobs, {INGEST: self.ingest}, poll_s=0.01)
        running = asyncio.create_task(worker.run())
        while await self.jobs.unfinished():
            await asyncio.sleep(0.01)
        worker.stop()
        await running

    async def fill(self) -> str:
        """Makes something of everything; returns the id of the vector store."""
        await self.database.migrate()
        await AuditLog(self.database, "s" * 40).record(ME, "key.create", "key_a", subject="bob")
        await Tenants(self.database).create(ME.tenant, name="Acme \U0001f511")
        subject = ("https://id", "ü")
        await Users(self.database).signed_in(
            ME.tenant, ME.user, subject=subject, role="admin", groups=["ü"], fresh=True
        )
        await self.keys.add(ME, "a" * 64, name="schlüssel \U0001f511", scopes=["data:read"])
        ids = [await self.upload(text.encode(), name) for text, name in (("the heron stands", "h.md"), ("a mill", "ü"))]
        store = await self.vector_stores.create(ME, name="birds", metadata={"a": "1"})
        for id in ids:
            await self.vector_stores.attach(ME, store.id, id, attributes={"n": 0.1, "b": True, "s": "x"})
        await self.upload(b"attached to nothing" * 100_000)
        talk = await self.conversations.create(ME, metadata={"a": "1"}, items=[{"type": "message", "role": "user"}])
        await Summaries(self.database).put(ME, None, await self.conversations.following(ME, talk.id), "they met")
        shares = Shares(self.database)
        await shares.create(ME, talk.id, await shares.sources(ME, talk.id), expires_in_s=9e6)
        await Memories(self.database).add(ME, "a", "likes tea")
        await AssistantRegister(self.database, 1).create(ME, "clerk", AssistantSettings(model="m"), None)
        prompt = await Prompts(self.database).create(ME, "greeting", "ü", "Hi {{name}} \U0001f511", ["name"])
        await Prompts(self.database).set_label(ME, prompt.id, "production", 1)
        vectors = TurnVectors(self.database)
        [turn] = await vectors.waiting(ME, talk.id, "e", keep=1, limit=1)
        await vectors.put(ME, talk.id, "a", "e", {turn: "AP/+"}, keep=1)
        made, other = capture(ME, conversation_id=talk.id), capture(ME)
        await self.captures.record(ME, made, turn=(talk.id, TURN))
        await self.captures.record(ME, other)
        claim = claim_of(ME, "k", "f" * 64)
        await IdempotencyKeys(self.database).claim(claim)
        answer = KeptAnswer("application/json", b'{"id":"\xc3\xbc"}')
        await IdempotencyKeys(self.database).keep(claim, answer, other.id, {"capture_id": other.id})
        response = NewResponse({"id": "resp_1", "output": []}, TURN, "resp_1")
        await self.captures.record(ME, capture(ME, id="resp_1", session_id="resp_1"), response=response)
        await self.ratings.create(ME, ("response", made.id), Rating(score=0.1, tags=["ü"], rejected_id=other.id))
        await self.add_version()
        await self.work()
        await self.jobs.enqueue(ME, "other", {"deep": [{"x": None}]}, dedupe_key="d", delay_s=1e6)
        return store.id

    async def add_version(self) -> None:
        """Adds one of the model hub that was made from another."""
        versions = Versions(self.database, Artefacts(data.place(self.store, data.HUB)))
        given: dict[str, Any] = {"name": "v", "kind": "adapter", "base": "m", "base_digest": "0" * 64, "method": "sft"}
        parents: list[str] = []
        for _ in range(2):
            version = await versions.begin(ME, **given, parents=parents)
            await versions.add(ME, version.id, "adapter.gguf", Path(__file__))
            parents = [(await versions.finish(ME, version.id)).id]

    @uninterrupted
    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        """All that an archive holds: when this database had its newest backup is its own matter."""
        async with self.database.read() as connection:
            return {
                table.name: [
                    dict(r)
                    for r in (await connection.execute(select(table).order_by(*key))).mappings()
                    if not (table is meta and r["key"] == BACKED_UP)
                ]
                for table in metadata.sorted_tables
                for key in [list(table.primary_key.columns)]
            }

    def contents(self) -> dict[str, bytes]:
        found = {}
        for folder in (data.FILES, data.HUB):
            place = data.place(self.store, folder)
            for name, _ in place.names():
                with place.open(name) as file:
                    found[f"{folder}/{name}"] = file.read()
        return found

    def search(self, store_id: str) -> list[tuple[str, float]]:
        hits = self.index(store_id).search("acme", "heron", np.eye(8, dtype=np.float32)[0], 5)
        return [(hit.text, hit.score) for hit in hits]

    async def save(self, target: Path) -> Path:
        return await backup(self.store, self.database, target, patience_s=60, say=lambda _: None)

    async def load(self, source: Path, *, force: bool = False) -> None:
        await restore(self.store, self.database, source, force=force, say=lambda _: None)


States = Callable[..., State]


async def same(one: State, other: State, store_id: str) -> None:
    assert await one.rows() == await other.rows()
    assert one.contents() == other.contents()
    assert len(one.search(store_id)) == 2
    assert one.search(store_id) == other.search(store_id)


class Filled(NamedTuple):
    """A folder with a database of SQLite and its data, an archive of them, and the id of the vector store."""

    folder: Path
    archive: Path
    store_id: str
