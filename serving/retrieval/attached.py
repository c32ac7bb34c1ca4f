"""Searches files that are attached to questions, in an index of their own, which no other conversation reads.

The index is in memory: it is made from the files when a question needs it first, and again when it was dropped, so that
it lasts as long as they do and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from serving.config import Assistant
from serving.core.places import SharedPlaces
from serving.core.ttl_cache import TtlCache
from serving.retrieval.chunk import ChunkSettings, chunk
from serving.retrieval.chunk_table import IndexedFile
from serving.retrieval.embedders.registry import EmbedderRegistry
from serving.retrieval.excerpts.answer_sentences import AnswerSentences
from serving.retrieval.excerpts.for_prompt import for_prompt
from serving.retrieval.excerpts.passage import within
from serving.retrieval.fuse import fuse, fuse_follow_up
from serving.retrieval.index import CollectionIndex
from serving.retrieval.indexes import manifest
from serving.retrieval.query_vectors import following
from serving.retrieval.relevance import READ_AGAIN, THRESHOLD, SecondEmbedder
from serving.retrieval.types import AttachedDocument, Chunk, Document, Hit
from serving.retrieval.vectors import stretched

EMBEDDED = 64
"""Number of passages that are compared with a question by their vectors, 50 ms of a processor each at the first time.

If the files have more, these are the ones with the best words.
"""

AT_ONCE = 2
"""Number of questions whose files are searched at once: new files take seconds of a processor that others need too."""

KEPT = 16
KEPT_S = 600.0
"""Number of indexes that are kept, and seconds since they were made."""

VECTORS = 16_384
"""Number of vectors of passages that are kept, 1.5 KB each."""


@dataclass(frozen=True, slots=True)
class _Files:
    """The passages of several files by id, and their words in an index."""

    chunks: Mapping[str, Chunk]
    words: CollectionIndex


class AttachedSearch:
    """Searches the files of one conversation or request at a time. Safe to share between threads."""

    def __init__(self, embedders: EmbedderRegistry, second: SecondEmbedder, sentences: AnswerSentences) -> None:
        self._embedders = embedders
        self._second = second
        self._sentences = sentences
        self._files: TtlCache[_Files] = TtlCache(KEPT_S, KEPT)
        self._vectors: TtlCache[NDArray[np.float32]] = TtlCache(KEPT_S, VECTORS)
        self._lock = threading.Lock()
        self._places = SharedPlaces(AT_ONCE, each=AT_ONCE)

    async def passages(
        self, tenant: str, assistant: Assistant, question: str, files: Sequence[AttachedDocument], before: str
    ) -> list[Hit]:
        """Returns passages for an assistant's prompt, or for its quotes, best first, named by their files.

        If passages are the answer, there are none unless one is relevant; a model gets the best ones in any case.
        """
        texts = [question, *([following(before, question)] if before else [])]
        embedder = await asyncio.to_thread(lambda: self._embedders.default)
        vectors = await embedder.embed(texts, "query")
        async with self._places.place(tenant):
            found = [
                await asyncio.to_thread(self.search, tenant, files, text, vector)
                for text, vector in zip(texts, vectors, strict=True)
            ]
            hits = fuse_follow_up(*found) if before else found[0]
            best = await asyncio.to_thread(self._excerpts, question, texts, hits, assistant)
        documents = {file.id: file.document for file in files}
        paged = (part for hit in best for part in _by_page(hit, documents[hit.chunk_id.rpartition(":")[0]]))
        return [replace(hit, title=hit.file_name) for hit in paged]

    def _excerpts(self, question: str, texts: Sequence[str], hits: Sequence[Hit], assistant: Assistant) -> list[Hit]:
        judge = self._embedders.judge
        if assistant.unsupported != "quote":
            return within(assistant.context_tokens, hits[: assistant.top_k], question, judge)
        read = hits[: max(assistant.top_k, READ_AGAIN)]
        return for_prompt(question, read, assistant, judge, texts, self._sentences, THRESHOLD, self._second)

    def search(
        self, tenant: str, files: Sequence[AttachedDocument], question: str, vector: NDArray[np.float32]
    ) -> list[Hit]:
        """Returns all passages that may matter, best first; blocks. `vector` is the question's."""
        found = self._index(tenant, files)
        words = found.words.search(tenant, question, vector, EMBEDDED, "bm25")
        hits = {hit.chunk_id: hit for hit in words}
        if len(found.chunks) <= EMBEDDED or not hits:
            names = {file.id: file.file_name for file in files}
            for id, each in list(found.chunks.items())[:EMBEDDED]:
                hits.setdefault(id, _hit(id, each, names[id.rpartition(":")[0]]))
        vectors = self._embedded(tenant, {id: found.chunks[id] for id in hits})
        unrelated = self._embedders.default.unrelated
        cosines = {id: stretched(float(vectors[id] @ vector), unrelated) for id in hits}
        scores = fuse({hit.chunk_id: hit.bm25_score for hit in words}, cosines)
        stored = {file.id: file.file_id for file in files}
        ordered = sorted(hits.values(), key=lambda hit: (-scores[hit.chunk_id], hit.chunk_id))
        return [
            replace(hit, file_id=stored[hit.file_id], score=scores[hit.chunk_id], dense_score=cosines[hit.chunk_id])
            for hit in ordered
        ]

    def _index(self, tenant: str, files: Sequence[AttachedDocument]) -> _Files:
        key = _digest(tenant, *(part for file in files for part in (file.key, file.file_id, file.file_name)))
        with self._lock:
            known = self._files.get(key)
        if known is not None:
            return known
        embedder = self._embedders.default
        words = CollectionIndex.open("memory://", "attached", manifest(embedder), create=True)
        chunks: dict[str, Chunk] = {}
        indexed = []
        for file in files:
            of_file = chunk(file.document, self._embedders.judge, ChunkSettings())
            chunks |= {f"{file.id}:{each.ordinal}": each for each in of_file}
            # Vectors are computed for the passages that a question needs, and are not in the index.
            none = np.zeros((len(of_file), embedder.dimensions), np.float32)
            indexed.append(IndexedFile(tenant, file.id, file.file_name, of_file, none))
        words.upsert_files(indexed)
        made = _Files(chunks, words)
        with self._lock:
            self._files.put(key, made)
        return made

    def _embedded(self, tenant: str, chunks: Mapping[str, Chunk]) -> dict[str, NDArray[np.float32]]:
        digests = {id: _digest(tenant, each.title, each.heading, each.text) for id, each in chunks.items()}
        with self._lock:
            known = {id: found for id, digest in digests.items() if (found := self._vectors.get(digest)) is not None}
        missing = [id for id in chunks if id not in known]
        if missing:
            made = dict(zip(missing, self._embedders.default.embed_chunks([chunks[id] for id in missing]), strict=True))
            with self._lock:
                for id, vector in made.items():
                    self._vectors.put(digests[id], vector)
            known |= made
        return known


def _by_page(hit: Hit, document: Document) -> Iterator[Hit]:
    """Yields a passage for each page of what it answers: passages of small files go over several pages."""

    def page(answer: tuple[int, int]) -> int | None:
        at = bisect_right(document.blocks, hit.start + answer[0], key=lambda block: block.start)
        return document.blocks[max(at - 1, 0)].page

    if not hit.answers:
        yield hit
    for number, answers in groupby(hit.answers or (), page):
        yield replace(hit, page=number, answers=tuple(answers))


def _hit(id: str, chunk: Chunk, name: str) -> Hit:
    file_id = id.rpartition(":")[0]
    place = (chunk.title, chunk.heading, chunk.text, chunk.start, chunk.end, chunk.page)
    return Hit(id, file_id, name, *place, score=0.0, dense_score=0.0, bm25_score=0.0)


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()
