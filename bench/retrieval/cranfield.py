"""Retrieval quality on Cranfield: nDCG@10 (linear gain, as trec_eval) and recall@10 of each leg and of their fusion.

    python bench/retrieval/cranfield.py [--data FOLDER] [--documents N] [--weights]

The data folder contains `cranfield/` in BEIR's layout. Documents go through the library's own chunker, embedder and
index; a document's score is that of its best chunk. Nothing is chosen on this collection. Vectors are kept in
.headrace/bench, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from bench.kept_vectors import KeptVectors
from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.chunk import ChunkSettings, chunk
from serving.retrieval.chunk_table import IndexedFile
from serving.retrieval.embedders.embedder import Vectors
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.fuse import DENSE_WEIGHT, fuse
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.types import Chunk, Mode
from serving.retrieval.vectors import TextEmbedder, chunk_vectors

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CUTOFF = 10
TOGETHER = 100  # documents in one version of the table
Run = dict[str, list[str]]
Judgements = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Cranfield:
    documents: list[dict[str, str]]
    queries: dict[str, str]
    judgements: Judgements

    @classmethod
    def load(cls, folder: Path, documents: int | None = None) -> Cranfield:
        """Reads the collection, or its first `documents` documents with the judgements about them."""
        corpus = _lines(folder / "cranfield" / "corpus.jsonl")[:documents]
        known = {d["_id"] for d in corpus}
        judgements: Judgements = {}
        with (folder / "cranfield" / "qrels.tsv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if row["corpus-id"] in known:
                    judgements.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
        queries = {q["_id"]: q["text"] for q in _lines(folder / "cranfield" / "queries.jsonl")}
        return cls(corpus, {q: t for q, t in queries.items() if q in judgements}, judgements)


def build(
    data: Cranfield, embedder: OnnxEmbedder, folder: str, vectors_of: TextEmbedder | None = None
) -> CollectionIndex:
    """Indexes the collection, one file per document, with vectors that `vectors_of` computes or has kept."""
    settings = ChunkSettings()
    manifest = CollectionManifest(
        embedder.id, embedder.dimensions, settings.max_tokens, settings.overlap_tokens, "bench"
    )
    index = CollectionIndex.open(folder, "cranfield", manifest, create=True)
    index.unrelated = embedder.unrelated
    for start in range(0, len(data.documents), TOGETHER):
        together = data.documents[start : start + TOGETHER]
        cut = {document["_id"]: _chunks(document, embedder, settings) for document in together}
        vectors = chunk_vectors([each for chunks in cut.values() for each in chunks], vectors_of or embedder)
        parts = np.split(vectors, list(accumulate(map(len, cut.values())))[:-1])
        index.upsert_files(
            [IndexedFile("bench", name, name, cut[name], part) for name, part in zip(cut, parts, strict=True)]
        )
        print(f"{start + len(together)} of {len(data.documents)} documents", file=sys.stderr)
    index.optimize()
    return index


def search(index: CollectionIndex, data: Cranfield, vectors: Mapping[str, Vectors], mode: Mode) -> Run:
    """Returns the first 100 documents for each query, ranked by their best chunk."""
    run: Run = {}
    for query, text in data.queries.items():
        hits = index.search("bench", text, vectors[query], 100, mode)
        run[query] = list(dict.fromkeys(hit.file_id for hit in hits))
    return run


def ndcg(run: Run, judgements: Judgements, queries: Iterable[str]) -> float:
    """Returns the mean nDCG@10 with linear gain, as trec_eval's ndcg_cut."""
    return _mean(_ndcg(run[query], judgements[query]) for query in queries)


def recall(run: Run, judgements: Judgements, queries: Iterable[str]) -> float:
    """Returns the mean share of a query's relevant documents among the first 10."""
    return _mean(len(set(run[q][:CUTOFF]) & judgements[q].keys()) / len(judgements[q]) for q in queries)


def fusion_runs(index: CollectionIndex, data: Cranfield, vectors: Mapping[str, Vectors]) -> Callable[[float], Run]:
    """Searches once, 200 hits deep, and returns fusion as a function of the dense weight."""
    found = {
        query: {hit.chunk_id: hit for hit in index.search("bench", text, vectors[query], 200)}
        for query, text in data.queries.items()
    }

    def run(weight: float) -> Run:
        ranked: Run = {}
        for query, hits in found.items():
            bm25 = {key: hit.bm25_score for key, hit in hits.items() if hit.bm25_score}
            scores = fuse(bm25, {key: hit.dense_score for key, hit in hits.items()}, weight)
            best = sorted(scores, key=lambda key: (-scores[key], key))
            ranked[query] = list(dict.fromkeys(hits[key].file_id for key in best))
        return ranked

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds cranfield/")
    parser.add_argument("--documents", type=int, help="only so many documents")
    parser.add_argument("--weights", action="store_true", help="also try other dense weights")
    arguments = parser.parse_args()
    if not (arguments.data / "cranfield" / "corpus.jsonl").is_file():
        print(f"skipped: there is no Cranfield collection in {arguments.data}; point --data at it")
        return
    data, embedder = Cranfield.load(arguments.data, arguments.documents), OnnxEmbedder()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        kept = KeptVectors(embedder, "cranfield")
        index = build(data, embedder, folder, kept)
        print(f"{index.stats().chunks} chunks of {len(data.documents)} documents: {time.perf_counter() - began:.0f} s,")
        print(f"{kept.computed} vectors computed, the others kept from before")
        texts = kept.embed(list(data.queries.values()), "query")
        vectors = dict(zip(data.queries, texts, strict=True))
        print(f"{'':14}  nDCG@10: even    odd    all   recall@10")
        for mode in ("bm25", "dense", "hybrid"):
            _report(mode, search(index, data, vectors, mode), data)  # type: ignore[arg-type]
        if arguments.weights:
            fused = fusion_runs(index, data, vectors)
            for weight in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
                chosen = " *" if weight == DENSE_WEIGHT else ""
                _report(f"dense {weight}{chosen}", fused(weight), data)


def _report(name: str, run: Run, data: Cranfield) -> None:
    even = [q for q in data.queries if int(q) % 2 == 0]
    odd = [q for q in data.queries if int(q) % 2]
    figures = [ndcg(run, data.judgements, part) for part in (even, odd, data.queries)]
    print(f"{name:14}         " + "  ".join(f"{x:.4f}" for x in figures), end="")
    print(f"   {recall(run, data.judgements, data.queries):.4f}", flush=True)


def _chunks(document: Mapping[str, str], embedder: OnnxEmbedder, settings: ChunkSettings) -> list[Chunk]:
    builder = DocumentBuilder("text", ChunkBounds())
    builder.add(document["text"] or document["title"] or "(empty)")
    return chunk(builder.build(document["_id"], document["title"]), embedder, settings)


def _ndcg(ranked: list[str], relevant: dict[str, int]) -> float:
    gain = sum(relevant.get(d, 0) / math.log2(i + 2) for i, d in enumerate(ranked[:CUTOFF]))
    ideal = sorted(relevant.values(), reverse=True)[:CUTOFF]
    return gain / sum(g / math.log2(i + 2) for i, g in enumerate(ideal))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
