"""What a long conversation costs: rows for each turn, counted over a thousand turns of each kind that works behind."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import func, select

from serving.assistants.memory.extractor import Extractor
from serving.assistants.memory.indexer import Indexer
from serving.assistants.memory.jobs import REMEMBER, MemoryJobs
from serving.assistants.memory.summariser import Summariser
from serving.config import Alias, Assistant, BufferMemory, Catalog, RemoteModel, Target, VectorMemory
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.engines.router import ModelRouter
from serving.retrieval.client import RetrievalClient
from serving.store.conversations import Conversations
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import JobContext, PermanentError
from serving.store.memories import Memories
from serving.store.relational.database import Database
from serving.store.relational.tables import metadata
from serving.store.summaries import Summaries
from serving.store.turn_vectors import TurnVectors

ME = Principal("acme", "alice", "k")


class Handle:
    """A retrieval deployment that embeds at random."""

    def __init__(self):
        self.call = self
        self.random = np.random.default_rng(0)

    async def remote(self, method, texts):
        return self.random.standard_normal((len(texts), 384)).astype(np.float32), 0


class World:
    def __init__(self, database):
        self.database, self.jobs = database, Jobs(database)
        self.conversations = Conversations(database)
        self.vectors = TurnVectors(database)
        self.catalog = Catalog()
        self.remembering = MemoryJobs(
            self.jobs,
            Summariser(self.conversations, Summaries(database)),
            Extractor(self.conversations, Memories(database)),
            Indexer(self.vectors, RetrievalClient(Handle())),
            None,
            None,
            lambda: ModelRouter(self.catalog),
            lambda assistant: None,
        )

    async def turn(self, id, assistant, n):
        said = [("user", "input_text", f"question {n}"), ("assistant", "output_text", f"answer {n}")]
        items = [{"type": "message", "role": r, "content": [{"type": t, "text": x}]} for r, t, x in said]
        await self.conversations.add(ME, id, items, self.remembering.after(ME, assistant, id))

    async def work(self):
        """Does one job, if there is any, and returns how it ended."""
        job = await self.jobs.claim([REMEMBER], "me", 60)
        if job is None:
            return None
        result = await self.remembering.handlers[REMEMBER](JobContext(self.jobs, job, 60))
        return await self.jobs.complete(job, result)

    @uninterrupted
    async def rows(self):
        async with self.database.read() as connection:
            tables = [t for t in metadata.sorted_tables if t.name != "meta"]  # which has no rows of turns
            counts = {t.name: select(func.count()).select_from(t) for t in tables}
            return {name: (await connection.execute(count)).scalar_one() for name, count in counts.items()}


@pytest.fixture
async def world(tmp_path):
    async with Database(f"sqlite:///{tmp_path}/h.db") as database:
        yield World(database)


def catalog(memory):
    model = RemoteModel(name="m", url="http://127.0.0.1:9/v1")
    return Catalog(models=(model,), assistants=(Assistant(name="a", model="m", memory=memory),))


@pytest.mark.parametrize(("turns", "keep"), [(200, 80), pytest.param(1000, 400, marks=pytest.mark.soak)])
async def test_turns_are_at_most_four_rows_each(world, turns, keep):
    world.catalog = catalog(VectorMemory(keep=keep))
    [assistant] = world.catalog.assistants
    made = await world.conversations.create(ME)
    before = sum((await world.rows()).values())
    for n in range(turns):
        await world.turn(made.id, assistant, n)
        if n + 1 in (turns // 2, turns):  # the jobs between find nothing left to do
            assert (await world.work()).result == {"embedded": keep}
            assert sum((await world.rows()).values()) - before == 3 * (n + 1) + keep
    rows = await world.rows()
    assert sum(rows.values()) - before <= 4 * turns
    assert rows["conversation_items"] == 2 * turns
    assert rows["jobs"] == turns
    assert rows["turn_vectors"] == keep
    await world.conversations.delete(ME, made.id)
    assert sum((await world.rows()).values()) == before - 1 + turns  # a job goes seven days after its end


async def test_memories_without_background_work_enqueue_no_job(world):
    world.catalog = catalog(BufferMemory())
    made = await world.conversations.create(ME)
    await world.turn(made.id, world.catalog.assistants[0], 0)
    await world.turn(made.id, None, 1)
    assert await world.work() is None


async def test_one_job_processes_all_missed_turns(world):
    world.catalog = catalog(VectorMemory())
    [assistant] = world.catalog.assistants
    made = await world.conversations.create(ME)
    for n in range(70):
        await world.turn(made.id, assistant if n == 69 else None, n)
    assert (await world.work()).result == {"embedded": 70}
    assert await world.work() is None


async def test_jobs_of_deleted_objects_succeed(world):
    world.catalog = catalog(VectorMemory())
    [assistant] = world.catalog.assistants
    made = await world.conversations.create(ME)
    await world.turn(made.id, assistant, 0)
    await world.conversations.delete(ME, made.id)
    assert (await world.work()).status == "succeeded"
    made = await world.conversations.create(ME)
    await world.turn(made.id, assistant, 0)
    world.catalog = Catalog()
    with pytest.raises(PermanentError, match="no longer exists"):
        await world.work()


@pytest.mark.parametrize("kind", ["summary", "summary_window", "facts"])
def test_a_catalogue_rejects_a_memory_with_an_unknown_model(kind):
    model = RemoteModel(name="m", url="http://127.0.0.1:9/v1")
    aliases = (Alias(name="small", targets=(Target(model="m"),)),)
    for name, right in (("small", True), ("m", True), ("a", False), ("none", False)):
        assistant = {"name": "a", "model": "m", "memory": {"kind": kind, "model": name}}
        given = {"models": (model,), "aliases": aliases, "assistants": (assistant,)}
        if right:
            Catalog.model_validate(given)
        else:
            with pytest.raises(ValueError, match=f"no model or alias '{name}' for its memory"):
                Catalog.model_validate(given)
