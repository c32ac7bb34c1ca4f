"""The latency of search in a large collection.

    python -m bench retrieval scale [--chunks 100000] [--searches 500] [--per-file 10] [--data FOLDER]

A chunk is three sentences of one Cranfield abstract and one of another, drawn at random; its vector is the mean
of the two abstracts' vectors plus noise, so that vectors cluster as real ones do. Queries are Cranfield's. What is left
out is the parsing and embedding of that many chunks: see bench/retrieval/ingestion.py.
Prints p50 and p95 of search with one client, with and without embedding the query, within a part of the files as
filters leave it, and how many of an exact search's first ten hits the vector index finds. Where other work keeps the
host busy, the processor time of a search says more than its duration.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from cranfield import DATA, Cranfield

from serving.retrieval.chunk_table import IndexedFile
from serving.retrieval.embedders.embedder import Vectors
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.text.sentences import sentence_spans
from serving.retrieval.types import Chunk

BATCH_SIZE = 10_000
"""Chunks that are made and written together."""

PARTS = (0.01, 0.1, 0.5)
"""Parts of the files that filters leave."""


def synthesise(data: Cranfield, embedder: OnnxEmbedder, count: int) -> Iterator[tuple[list[Chunk], Vectors]]:
    """Yields chunks of about 100 words and their vectors, `BATCH_SIZE` at a time."""
    draw, noise = random.Random(0), np.random.default_rng(0)
    abstracts = embedder.embed([d["text"] for d in data.documents])
    sentences = [
        [d["text"][start:end] for start, end in sentence_spans(d["text"])] or [d["title"]] for d in data.documents
    ]
    for first in range(0, count, BATCH_SIZE):
        size = min(BATCH_SIZE, count - first)
        chunks, vectors = [], noise.normal(0, 0.02, (size, embedder.dimensions)).astype(np.float32)
        for i in range(size):
            main, other = draw.choices(range(len(sentences)), k=2)
            text = " ".join([*draw.choices(sentences[main], k=3), draw.choice(sentences[other])])
            chunks.append(Chunk(first + i, "", "", text, 0, len(text), None))
            vectors[i] += 0.75 * abstracts[main] + 0.25 * abstracts[other]
        yield chunks, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_files(index: CollectionIndex, chunks: Sequence[Chunk], vectors: Vectors, per_file: int) -> None:
    """Writes chunks as files of so many each, in one version of the index."""
    files = []
    for at in range(0, len(chunks), per_file):
        part = slice(at, at + per_file)
        id = f"file-{chunks[at].ordinal // per_file}"
        files.append(IndexedFile("bench", id, "x.txt", chunks[part], vectors[part]))
    index.upsert_files(files)


def percentiles(run: Callable[[int], object], count: int) -> str:
    """Calls `run(i)` `count` times after a warm-up, and returns percentiles of its duration in milliseconds."""
    for i in range(20):
        run(i)
    spent, processor = [], []
    for i in range(count):
        began, used = time.perf_counter(), time.process_time()
        run(i)
        spent.append((time.perf_counter() - began) * 1000)
        processor.append((time.process_time() - used) * 1000)
    p50, p95, worst = np.percentile(spent, (50, 95, 100))
    mean, high = np.mean(processor), np.percentile(processor, 95)
    text = f"p50 {p50:5.1f} ms   p95 {p95:5.1f} ms   max {worst:5.1f} ms"
    return f"{text}   processor: mean {mean:5.1f} ms   p95 {high:5.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds cranfield/")
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=500)
    parser.add_argument("--per-file", type=int, default=10, help="chunks of a file (%(default)s)")
    parser.add_argument("--documents", type=int, default=400, help="abstracts to draw sentences from")
    arguments = parser.parse_args()
    if not (arguments.data / "cranfield" / "corpus.jsonl").is_file():
        print(f"skipped: there is no Cranfield collection in {arguments.data}; point --data at it")
        return
    data, embedder = Cranfield.load(arguments.data, arguments.documents), OnnxEmbedder()
    queries = list(data.queries.values())
    asked = embedder.embed(queries, "query")
    with tempfile.TemporaryDirectory() as folder:
        manifest = CollectionManifest(embedder.id, embedder.dimensions, 200, 30, "bench")
        index = CollectionIndex.open(folder, "scale", manifest, create=True)
        index.unrelated = embedder.unrelated
        began = time.perf_counter()
        parts = []
        for chunks, part in synthesise(data, embedder, arguments.chunks):
            write_files(index, chunks, part, arguments.per_file)
            parts.append(part)
        vectors = np.concatenate(parts)
        ended = time.perf_counter()
        index.optimize()
        print(f"write {ended - began:.1f} s, build indexes {time.perf_counter() - ended:.1f} s; {index.stats()}")

        def search(i: int) -> object:
            i %= len(queries)
            return index.search("bench", queries[i], asked[i], 10)

        def embed_and_search(i: int) -> object:
            text = queries[i % len(queries)]
            return index.search("bench", text, embedder.embed([text], "query")[0], 10)

        print("hybrid search          ", percentiles(search, arguments.searches))
        print("with embedding of query", percentiles(embed_and_search, arguments.searches))
        files = [f"file-{number}" for number in range(-(-arguments.chunks // arguments.per_file))]
        for share in PARTS:
            passing = random.Random(1).sample(files, max(1, int(share * len(files))))

            def filtered(i: int, passing: list[str] = passing) -> object:
                i %= len(queries)
                return index.search("bench", queries[i], asked[i], 10, file_ids=passing)

            print(f"within {share:4.0%} of the files ", percentiles(filtered, arguments.searches))
        found = _recall(index, queries, asked, vectors, arguments.per_file)
        print(f"recall@10 of the vector index: {found:.3f}")


def _recall(index: CollectionIndex, queries: list[str], asked: Vectors, vectors: Vectors, per_file: int) -> float:
    shares = []
    for text, vector in zip(queries[:100], asked[:100], strict=False):
        exact = {f"file-{row // per_file}:{row}" for row in np.argsort(-(vectors @ vector))[:10]}
        found = {hit.chunk_id for hit in index.search("bench", text, vector, 10, "dense")}
        shares.append(len(exact & found) / 10)
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
