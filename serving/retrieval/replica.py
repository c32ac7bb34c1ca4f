"""A retrieval replica: embeds, searches, attributes, and runs the background jobs that keep indexes current."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.config import DEFAULT_EMBEDDER, JUDGE, Assistant, Catalog, ServingConfig
from serving.core.principal import STACK, Principal
from serving.engines.client import EngineClient
from serving.engines.endpoint import EngineUnavailable
from serving.engines.pool import Engines, Handle
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import Datasets
from serving.hub.forgetting import Forgetting
from serving.hub.live import Live
from serving.hub.retraining import Retraining
from serving.hub.upkeep import HubUpkeep
from serving.metering.documents import DocumentQuotas
from serving.protocol.errors import ApiError
from serving.protocol.filters import Filter
from serving.protocol.knowledge import Knowledge
from serving.retrieval.attached import AttachedSearch
from serving.retrieval.cite import attribute
from serving.retrieval.embedders.registry import EmbedderRegistry
from serving.retrieval.errors import CollectionNotFound
from serving.retrieval.excerpts.answer_sentences import AnswerSentences
from serving.retrieval.excerpts.for_prompt import for_prompt
from serving.retrieval.file_filter import FileFilter
from serving.retrieval.fuse import DEPTH, fuse_follow_up
from serving.retrieval.indexes import OpenIndex, VectorStoreIndexes
from serving.retrieval.ingest import FILES_AT_ONCE, FILES_OF_ONE, Ingestion
from serving.retrieval.query_vectors import QueryVectors, following
from serving.retrieval.reindex import Reindexing
from serving.retrieval.relevance import (
    MINILM_THRESHOLD,
    READ_AGAIN,
    THRESHOLD,
    SecondEmbedder,
    judged,
    without_subject,
)
from serving.retrieval.reranker import Reranker
from serving.retrieval.types import AttachedDocument, Attribution, Chunk, Hit, Mode
from serving.security.erasure import Erasures
from serving.security.prompt_cache import CacheOwners
from serving.store.access import names_of
from serving.store.apps.checkpoints import Checkpoints
from serving.store.audit_chain import chain_key
from serving.store.background.batches import Batches
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import StoreUnavailable
from serving.store.files import Files
from serving.store.idempotency import IdempotencyKeys
from serving.store.jobs.job import ERASURE
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import Worker
from serving.store.keys import Keys
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.objects.live_adapters import LiveSets
from serving.store.relational.database import Database
from serving.store.responses import Responses
from serving.store.sharing.shares import Shares
from serving.store.upkeep import retention
from serving.store.upkeep.indexes import Indexes
from serving.store.used_approvals import UsedApprovals
from serving.store.users import ADMIN
from serving.store.vector_stores import VectorStores
from serving.telemetry import loop_lag, metrics

log = logging.getLogger("headrace.retrieval")

HOUSEKEEPING_S = 3600.0
KEEP_JOBS_S = 7 * 86_400.0
"""How long ended jobs can be looked up."""

NAMES_TTL_S = 2.0
"""How long the vector store of a knowledge name is cached."""


def _no_engines(application: str) -> Handle:
    raise EngineUnavailable(f"{application} does not run here")


@dataclass(frozen=True, slots=True)
class _SearchResult:
    """The result of searching one index, and the embedder of the query; None if only BM25 was used."""

    hits: list[Hit]
    embedder: str | None = None


class RetrievalReplica:
    """One embedder and the open indexes. Public coroutines are called through the Serve deployment."""

    def __init__(self, config: ServingConfig, handle_of: Callable[[str], Handle] = _no_engines) -> None:
        self._database = Database.from_config(config.store)
        jobs = Jobs(self._database)
        self._jobs = jobs
        self._stores = VectorStores(self._database, jobs)
        self._files = Files(self._database, jobs, self._stores)
        self._blobs = Blobs(data.place(config.store, data.FILES))
        self._retention = config.retention
        self._conversations = Conversations(self._database)
        self._responses = Responses(self._database, self._conversations)
        self._captures = Captures(self._database)
        self._batches = Batches(self._database, jobs)
        self._shares = Shares(self._database)
        secret = config.key_secret.read()
        self._engines = Engines(handle_of, config.limits.lease_timeout_s, CacheOwners(config.prompt_cache, secret))
        self._client = EngineClient()
        self._embedders = EmbedderRegistry(self._engines, self._client)
        self._judge = self._embedders.judge
        self._second = SecondEmbedder(self._judge)
        self._sentences = AnswerSentences(lambda: self._embedders.local(DEFAULT_EMBEDDER))
        self._attached = AttachedSearch(self._embedders, self._second, self._sentences)
        self._reranker = Reranker(self._engines, self._client)
        self._checkpoints = Checkpoints(self._database)
        where = data.collections(config.store)
        self._indexes = VectorStoreIndexes(where, Indexes(self._database), self._embedders)
        self._reindexing = Reindexing(self._indexes, self._embedders, jobs)
        self._quotas = DocumentQuotas(self._database, config.quotas)
        stored = (self._files, self._stores, self._blobs)
        count = self._judge.count_tokens
        self._ingestion = Ingestion(self._indexes, *stored, jobs, config.limits, self._quotas, count)
        self._file_filter = FileFilter(self._stores)
        self._names: dict[str, tuple[float, str]] = {}
        hub = data.place(config.store, data.HUB)
        artefacts = Artefacts(hub)
        self._hub_upkeep = HubUpkeep(self._database, artefacts)
        retraining = Retraining(jobs, Datasets(self._database, artefacts)) if config.tuning.enabled else None
        forgetting = Forgetting(self._database, artefacts, Live(self._database, LiveSets(hub)), retraining)
        erasures = Erasures(
            self._database, jobs, self._files, self._stores, chain_key(secret), also=(forgetting.forget,)
        )
        handlers = {**self._ingestion.handlers, **self._reindexing.handlers, **erasures.handlers}
        # Separate workers, so that documents and erasures do not wait for each other.
        self._workers = [
            Worker(jobs, handlers, lane="", concurrency=FILES_AT_ONCE, each=FILES_OF_ONE),
            Worker(jobs, handlers, lane=ERASURE),
        ]
        self._begin_anew = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def configure(self, catalog: Catalog) -> None:
        """Takes the new catalogue: its models, and those that searches use."""
        self._engines.configure(catalog)
        self._embedders.configure(catalog)
        self._reranker.configure(catalog)
        self._begin_anew.set()

    async def start(self) -> None:
        """Migrates the database and starts the workers."""
        await self._database.start()
        await self._quotas.start()
        self._working = asyncio.create_task(self._work())
        self._housekeeping = asyncio.create_task(self._keep_house())
        self._watching = asyncio.create_task(loop_lag.watch("retrieval"))

    async def check_health(self) -> None:
        """Raises when a worker has ended, so that Serve replaces the replica."""
        if self._working is not None and self._working.done():
            raise RuntimeError("a job worker has ended")

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(worker.run())
        finally:
            await self._quotas.close()

    async def _keep_house(self) -> None:
        """Removes leftovers of crashes and expired data; several replicas may do it at once."""
        while True:
            for task in (
                self._end_retention,
                self._reindexing.begin,
                lambda: self._jobs.prune(KEEP_JOBS_S),
                IdempotencyKeys(self._database).prune,
                UsedApprovals(self._database).prune,
                Keys(self._database).prune,
                self._shares.prune,
                self._checkpoints.prune,
                lambda: self._blobs.sweep(self._files.existing),
                self._hub_upkeep.tidy,
            ):
                try:
                    await task()
                except StoreUnavailable as e:
                    log.warning("housekeeping was postponed: %s", e)
                except Exception:  # one failing task, such as with an unavailable bucket, must not stop the others
                    log.exception("housekeeping was postponed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._begin_anew.wait(), HOUSEKEEPING_S)
            self._begin_anew.clear()

    async def _end_retention(self) -> None:
        removed = await retention.prune(
            self._retention, self._conversations, self._responses, self._captures, self._files, self._batches
        )
        if any(removed.values()):
            log.info("retention ended: %s", removed)

    async def ping(self) -> bool:
        """Returns, to show that the replica answers."""
        return True

    async def context(
        self,
        principal: Principal,
        assistant: Assistant,
        question: str,
        granted: Collection[str] = (),
        before: str = "",
        stores: Sequence[str] = (),
        knowledge: Knowledge | None = None,
    ) -> list[Hit]:
        """Returns the chunks for an assistant's prompt, best first; none when no chunk is relevant.

        Collections belong to the stack's own tenant. The `granted` ones are searched with the access of the stack's own
        user; in the others, users of other tenants find only chunks without an access list. The vector stores with the
        ids `stores`, and those of `knowledge`, are searched with the principal's own access.

        A question with a previous message `before` is searched for by itself and after that message, each without the
        name of the subject of all of the assistant's documents.
        """
        named = [(await self._store_named(name), name in granted) for name in assistant.knowledge]
        stack = Principal(STACK, ADMIN, principal.key_id)
        guest = principal if principal.tenant == STACK else Principal(STACK, user="", key_id=principal.key_id)
        own: dict[str, Filter | None] = dict.fromkeys(stores)
        if knowledge is not None:
            own |= dict.fromkeys(knowledge.vector_store_ids, knowledge.filters)
        meant, meant_before = (without_subject(text, assistant.description) for text in (question, before))
        queries = [QueryVectors(question, meant)]
        if before:
            queries.append(QueryVectors(following(before, question), following(meant_before, meant)))
        wanted = max(assistant.top_k, READ_AGAIN if assistant.unsupported == "quote" else 0)
        count = DEPTH if before else self._reranker.depth(wanted)
        searches = []
        for query in queries:
            searches += [self._search(stack if told else guest, id, query, count) for id, told in named]
            searches += [self._search_own(principal, id, query, count, only) for id, only in own.items()]
        found = await asyncio.gather(*searches)
        each = len(named) + len(own)
        least = knowledge.score_threshold if knowledge is not None else 0.0
        alone, behind = (_best([one.hits for one in part], least) for part in (found[:each], found[each:]))
        hits = fuse_follow_up(alone, behind) if alone and behind else alone or behind
        hits = (await self._reranker.order(question, hits))[:wanted]
        # A histogram's sum must not decrease, which would make its rate wrong.
        metrics.retrieval_score.observe(max([0.0, *(hit.dense_score for hit in hits[: assistant.top_k])]))
        embedders = {one.embedder for one in found if one.hits}
        means = [query.meant for query in queries]
        return await asyncio.to_thread(self._for_prompt, question, means, hits, assistant, embedders)

    def _for_prompt(
        self, question: str, meant: Sequence[str], hits: Sequence[Hit], assistant: Assistant, embedders: set[str | None]
    ) -> list[Hit]:
        """Returns the excerpts for a prompt from hits that were found with vectors of these embedders."""
        threshold = THRESHOLD
        second = None  # other embedders may know languages that the judge does not
        if embedders == {self._judge.id}:
            threshold = MINILM_THRESHOLD
        elif hits and embedders != {(default := self._embedders.local(DEFAULT_EMBEDDER)).id}:
            hits = judged(meant[0], hits, default)
        elif not self._reranker.configured:
            second = self._second
        return for_prompt(question, hits, assistant, self._judge, meant, self._sentences, threshold, second)

    async def attached(
        self,
        principal: Principal,
        assistant: Assistant,
        question: str,
        files: Sequence[AttachedDocument],
        before: str = "",
    ) -> list[Hit]:
        """Returns the passages of attached files: see `AttachedSearch.passages`."""
        return await self._attached.passages(principal.tenant, assistant, question, files, before)

    async def search(
        self, principal: Principal, store_id: str, query: str, count: int, filters: Filter | None = None
    ) -> list[Hit]:
        """Returns the best chunks of one vector store, from files whose attributes match the filter."""
        found = await self._search_own(principal, store_id, QueryVectors(query), self._reranker.depth(count), filters)
        return (await self._reranker.order(query, found.hits))[:count]

    async def chunks(self, principal: Principal, store_id: str, file_id: str, wanted: range) -> list[Chunk]:
        """Returns the chunks of a file with these ordinals, in order; those below 0 count from the last chunk."""
        index = (await self._indexes.searched(store_id)).index
        return await asyncio.to_thread(index.chunks_of, principal.tenant, file_id, wanted)

    async def attribute(self, answer: str, hits: Sequence[Hit]) -> Attribution:
        """Returns which sentences of `answer` are supported by the hits."""
        return await asyncio.to_thread(attribute, answer, hits, self._judge)

    async def embed(self, texts: list[str], whole: bool = False, model: str = JUDGE) -> tuple[NDArray[np.float32], int]:
        """Returns unit vectors by a local model, float32[n, dimensions], and the number of tokens. `whole` embeds all
        of each text.
        """
        return await asyncio.to_thread(self._embed, texts, whole, model)

    def _embed(self, texts: list[str], whole: bool, model: str) -> tuple[NDArray[np.float32], int]:
        embedder = self._embedders.local(model)
        vectors = embedder.embed_whole(texts) if whole else embedder.embed(texts)
        return vectors, sum(map(embedder.count_tokens, texts))

    async def _search_own(
        self,
        principal: Principal,
        store_id: str,
        query: QueryVectors,
        count: int,
        filters: Filter | None,
    ) -> _SearchResult:
        try:
            return await self._search(principal, store_id, query, count, filters)
        except CollectionNotFound:  # nothing has been ingested yet
            return _SearchResult([])

    async def _search(
        self,
        principal: Principal,
        store_id: str,
        query: QueryVectors,
        count: int,
        filters: Filter | None = None,
    ) -> _SearchResult:
        started = time.perf_counter()
        withheld = await self._stores.withheld(principal, store_id)
        if withheld is None:
            return _SearchResult([])
        matching = None
        if filters is not None:
            matching = await self._file_filter.matching_ids(principal, store_id, filters)
        names = names_of(principal)
        opened = await self._indexes.searched(store_id)
        mode, vector = await self._vector(opened, query)
        hits = await asyncio.to_thread(
            lambda: opened.index.search(
                principal.tenant, query.text, vector, count, mode, matching, names=names, withheld=withheld
            )
        )
        metrics.retrieval_seconds.labels(mode).observe(time.perf_counter() - started)
        return _SearchResult(hits, opened.index.manifest.embedder if mode == "hybrid" else None)

    async def _vector(self, opened: OpenIndex, query: QueryVectors) -> tuple[Mode, NDArray[np.float32]]:
        """Returns the query's vector for an index; if its embedder fails, only BM25 is used."""
        if opened.embedder is not None:
            try:
                return "hybrid", await query.made_by(opened.embedder)
            except ApiError as e:
                log.warning("searches use BM25 alone: the embedder %s fails: %s", opened.embedder.id, e.message)
        return "bm25", np.zeros(opened.index.manifest.dimensions, np.float32)

    async def _store_named(self, name: str) -> str:
        """Returns the id of the stack's own vector store of that name; the oldest if there are several."""
        known = self._names.get(name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        found = await self._stores.named(STACK, ADMIN, name)
        if found is None:
            raise CollectionNotFound(f"the collection {name} does not exist")
        self._names[name] = (time.monotonic() + NAMES_TTL_S, found)
        return found


def _best(found: Sequence[Sequence[Hit]], least: float) -> list[Hit]:
    """Returns the hits of several stores with a score of at least `least`, best first: each passage of a file once."""
    hits = sorted((hit for hits in found for hit in hits if hit.score >= least), key=lambda hit: -hit.score)
    return list({(hit.file_id, hit.start, hit.end): hit for hit in reversed(hits)}.values())[::-1]
