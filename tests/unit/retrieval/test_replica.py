"""A replica of retrieval: its housekeeping, and how it measures relevance."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serving.config import JUDGE, Assistant, Catalog, SearchModels
from serving.core.principal import STACK, Principal
from serving.retrieval.embedders.embedder import Role, Vectors
from serving.retrieval.excerpts import for_prompt
from serving.retrieval.relevance import MINILM_THRESHOLD, THRESHOLD, SecondEmbedder
from serving.retrieval.types import Chunk, Hit
from serving.store.users import ADMIN

if TYPE_CHECKING:
    from serving.retrieval.replica import RetrievalReplica


async def test_a_failing_housekeeping_task_does_not_stop_the_others(
    replica: RetrievalReplica, replica_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the bucket is unavailable, rows of the database still expire, in every round."""
    done = {"retention": 0, "jobs": 0, "shares": 0, "blobs": 0}

    def counting(name: str, *, fails: bool = False) -> object:
        async def task(*_: object) -> dict[str, int]:
            done[name] += 1
            if fails:
                raise OSError(f"{name} failed")
            return {}

        return task

    monkeypatch.setattr(replica_module.retention, "prune", counting("retention", fails=True))
    monkeypatch.setattr(replica._jobs, "prune", counting("jobs"))
    monkeypatch.setattr(replica._shares, "prune", counting("shares"))
    monkeypatch.setattr(replica._blobs, "sweep", counting("blobs", fails=True))
    monkeypatch.setattr(replica_module, "HOUSEKEEPING_S", 0.01)
    keeping = asyncio.create_task(replica._keep_house())
    async with asyncio.timeout(30):
        while min(done.values()) < 3:
            await asyncio.sleep(0.01)
    keeping.cancel()


ADMIN_OF_STACK = Principal(STACK, ADMIN, "key")


async def indexed(replica: RetrievalReplica, name: str, texts: Sequence[str]) -> str:
    """Returns the id of a vector store whose index the configured embedder built."""
    store = (await replica._stores.create(ADMIN_OF_STACK, name=name)).id
    opened = await asyncio.to_thread(lambda: replica._indexes.open(store, create=True))
    assert opened.embedder is not None
    for number, text in enumerate(texts):
        chunks = [Chunk(0, "", "", text, 0, len(text), None)]
        vectors = opened.embedder.embed_chunks(chunks)
        assert isinstance(vectors, np.ndarray)
        opened.index.upsert_file(STACK, f"file-{number}", f"{number}.md", chunks, vectors)
    return store


async def test_relevance_is_measured_with_the_embedder_of_the_searched_index(
    replica: RetrievalReplica, replica_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configured embedder may differ: similarities of another embedder, or of none, have another scale."""
    seen: list[tuple[bool, float]] = []
    anew: list[str] = []

    def judged(question: str, hits: list[Hit], judge: object) -> list[Hit]:
        anew.append(question)
        return hits

    def good_enough(question: str, hits: list[Hit], threshold: float) -> bool:
        seen.append((bool(anew), threshold))
        anew.clear()
        return True

    monkeypatch.setattr(replica_module, "judged", judged)
    monkeypatch.setattr(for_prompt, "good_enough", good_enough)
    text = ["The heron stands in the river."]
    about = Assistant(name="a", model="m", knowledge=("default",))

    async def asked(*names: str) -> tuple[bool, float]:
        await replica.context(
            ADMIN_OF_STACK, about.model_copy(update={"knowledge": names}), "Where does the heron stand?", names
        )
        return seen[-1]

    await indexed(replica, "default", text)
    replica.configure(Catalog(search=SearchModels(embedder=JUDGE)))
    await indexed(replica, "earlier", text)
    assert await asked("default") == (False, THRESHOLD)  # although another embedder is configured
    replica.configure(Catalog())
    assert await asked("default") == (False, THRESHOLD)
    assert await asked("earlier") == (False, MINILM_THRESHOLD)
    assert await asked("default", "earlier") == (True, THRESHOLD)
    monkeypatch.setattr(replica._embedders, "by_id", lambda _: None)
    replica._indexes._known.clear()
    assert await asked("earlier") == (True, THRESHOLD)  # keyword search only


async def test_the_name_of_the_subject_is_removed_from_the_semantic_query_only(
    replica: RetrievalReplica, replica_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await indexed(replica, "docs", ["Headrace begins with make up."])
    opened = await replica._indexes.searched(store)
    words, vectors, ordered, measured = [], [], [], []
    search, order, embed = opened.index.search, replica._reranker.order, opened.embedder.embed  # type: ignore[union-attr]

    def searched(tenant: str, text: str, *more: object, **options: object) -> list[Hit]:
        words.append(text)
        return search(tenant, text, *more, **options)  # type: ignore[arg-type]

    async def embedded(texts: Sequence[str], role: Role) -> Vectors:
        vectors.extend(texts)
        return await embed(texts, role)

    async def in_order(question: str, hits: list[Hit]) -> list[Hit]:
        ordered.append(question)
        return await order(question, hits)

    def good_enough(question: str, *_: object) -> bool:
        measured.append(question)
        return True

    monkeypatch.setattr(opened.index, "search", searched)
    monkeypatch.setattr(opened.embedder.__class__, "embed", lambda _, texts, role: embedded(texts, role))
    monkeypatch.setattr(replica._reranker, "order", in_order)
    monkeypatch.setattr(for_prompt, "good_enough", good_enough)
    about = Assistant(name="a", model="m", description="Knows Headrace.", knowledge=("docs",))
    await replica.context(ADMIN_OF_STACK, about, "How does Headrace begin?", ("docs",), before="Hello Headrace there")
    assert sorted(words) == ["Hello Headrace there\nHow does Headrace begin?", "How does Headrace begin?"]
    assert sorted(vectors) == ["Hello there\nHow does begin?", "How does begin?"]
    assert ordered == ["How does Headrace begin?"]
    assert measured == ["How does begin?"]


async def test_hits_are_read_again_where_they_are_the_answer_and_no_reranker_ordered_them(
    replica: RetrievalReplica, replica_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    await indexed(replica, "docs", [f"The heron stands in the river at mile {number}." for number in range(6)])
    replica.configure(Catalog(search=SearchModels(embedder=JUDGE)))
    await indexed(replica, "earlier", ["The heron stands in the river."])
    seen: list[tuple[list[str], int]] = []

    def read_again(_: SecondEmbedder, meant: list[str], hits: list[Hit]) -> list[Hit]:
        seen.append((meant, len(hits)))
        return hits[::-1]

    monkeypatch.setattr(SecondEmbedder, "read_again", read_again)
    quoting = Assistant(name="a", model="m", knowledge=("docs",), unsupported="quote", top_k=2)
    question = "Where does the heron stand?"

    async def asked(assistant: Assistant, *names: str, before: str = "") -> list[Hit]:
        about = assistant.model_copy(update={"knowledge": names})
        return await replica.context(ADMIN_OF_STACK, about, question, names, before=before)

    replica.configure(Catalog())
    searched = {hit.text for hit in await asked(quoting.model_copy(update={"unsupported": "mark"}), "docs")}
    quoted = {hit.text for hit in await asked(quoting, "docs")}
    assert (len(searched), len(quoted), searched & quoted) == (2, 2, set())
    await asked(quoting, "docs", before="Hello")
    assert seen == [([question], 6), ([question, f"Hello\n{question}"], 6)]
    seen.clear()
    assert len(await asked(quoting.model_copy(update={"unsupported": "mark"}), "docs")) == 2
    await asked(quoting, "earlier")
    monkeypatch.setattr(replica._reranker.__class__, "configured", True)
    monkeypatch.setattr(replica._reranker, "depth", lambda count: count)
    await asked(quoting, "docs")
    assert seen == []
