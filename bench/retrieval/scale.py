"""The latency of search in a large collection.

    python bench/retrieval/scale.py [--chunks 100000] [--searches 500] [--data FOLDER]

A chunk is three sentences of one Cranfield abstract and one of another, drawn at random; its vector is the mean
of the two abstracts' vectors plus noise, so that vectors cluster as real ones do. Queries are Cranfield's.
Prints p50 and p95 of search with one client, with and without embedding the query, and how many of an exact
search's first ten hits the vector index finds.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cranfield import DATA, Cranfield

from serving.retrieval.embedders.embedder import Vectors
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.text.sentences import sentence_spans
from serving.retrieval.types import Chunk

PER_FILE = 2_000


def synthesise(data: Cranfield, embedder: OnnxEmbedder, count: int) -> tuple[list[Chunk], Vectors]:
    """Returns chunks of about 100 words and their vectors."""
    draw, noise = random.Random(0), np.random.default_rng(0)
    abstracts = embedder.embed([d["text"] for d in data.documents])
    sentences = [
        [d["text"][start:end] for start, end in sentence_spans(d["text"])] or [d["title"]] for d in data.documents
    ]
    chunks, vectors = [], noise.normal(0, 0.02, (count, embedder.dimensions)).astype(np.float32)
    for i in range(count):
        main, other = draw.choices(range(len(sentences)), k=2)
        text = " ".join([*draw.choices(sentences[main], k=3), draw.choice(sentences[other])])
        chunks.append(Chunk(i, "", "", text, 0, len(text), None))
        vectors[i] += 0.75 * abstracts[main] + 0.25 * abstracts[other]
    return chunks, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def percentiles(run: Callable[[int], object], count: int) -> str:
    """Calls `run(i)` `count` times after a warm-up, and returns percentiles of its duration in milliseconds."""
    for i in range(20):
        run(i)
    spent = []
    for i in range(count):
        began = time.perf_counter()
        run(i)
        spent.append((time.perf_counter() - began) * 1000)
    p50, p95, worst = np.percentile(spent, (50, 95, 100))
    return f"p50 {p50:5.1f} ms   p95 {p95:5.1f} ms   max {worst:5.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds cranfield/")
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=500)
    parser.add_argument("--documents", type=int, default=400, help="abstracts to draw sentences from")
    arguments = parser.parse_args()
    if not (arguments.data / "cranfield" / "corpus.jsonl").is_file():
        print(f"skipped: there is no Cranfield collection in {arguments.data}; point --data at it")
        return
    data, embedder = Cranfield.load(arguments.data, arguments.documents), OnnxEmbedder()
    chunks, vectors = synthesise(data, embedder, arguments.chunks)
    queries = list(data.queries.values())
    asked = embedder.embed(queries, "query")
    with tempfile.TemporaryDirectory() as folder:
        manifest = CollectionManifest(embedder.id, embedder.dimensions, 200, 30, "bench")
        index = CollectionIndex.open(folder, "scale", manifest, create=True)
        index.unrelated = embedder.unrelated
        began = time.perf_counter()
        for at in range(0, len(chunks), PER_FILE):
            part = slice(at, at + PER_FILE)
            index.upsert_file("bench", f"file-{at}", "x.txt", chunks[part], vectors[part])
        written = time.perf_counter()
        index.optimize()
        print(f"write {written - began:.1f} s, build indexes {time.perf_counter() - written:.1f} s; {index.stats()}")

        def search(i: int) -> object:
            i %= len(queries)
            return index.search("bench", queries[i], asked[i], 10)

        def embed_and_search(i: int) -> object:
            text = queries[i % len(queries)]
            return index.search("bench", text, embedder.embed([text], "query")[0], 10)

        print("hybrid search          ", percentiles(search, arguments.searches))
        print("with embedding of query", percentiles(embed_and_search, arguments.searches))
        print(f"recall@10 of the vector index: {_recall(index, queries, asked, vectors):.3f}")


def _recall(index: CollectionIndex, queries: list[str], asked: Vectors, vectors: Vectors) -> float:
    shares = []
    for text, vector in zip(queries[:100], asked[:100], strict=False):
        exact = {f"file-{row // PER_FILE * PER_FILE}:{row}" for row in np.argsort(-(vectors @ vector))[:10]}
        found = {hit.chunk_id for hit in index.search("bench", text, vector, 10, "dense")}
        shares.append(len(exact & found) / 10)
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
