"""Chunks per second of ingestion, and of the embedder alone, over the same documents in alternating rounds.

    python -m bench.retrieval.ingestion [--files N] [--rounds N] [FOLDER]

A retrieval replica without Ray ingests the documents of a folder (by default docs/) from its store in SQLite, as in a
stack. The embedder alone gets the chunks of the same documents at once, in one thread as in a replica. Rounds
alternate, so that other load on the host affects both. The processor time per chunk, which depends on it least,
includes a replica's event loop, store and index, and the children that parse.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import psutil

from serving.config import SecretRef, ServingConfig, Store
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.ingest.source import is_document
from serving.retrieval.chunk import ChunkSettings
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.replica import RetrievalReplica
from serving.retrieval.sandbox import chunk_isolated
from tools.environment import CHECKOUT

BENCH = Principal("bench", "bench", "bench")


@asynccontextmanager
async def running_replica(folder: Path) -> AsyncIterator[RetrievalReplica]:
    """A replica that processes jobs, with its database and files in a folder."""
    (folder / "secret").write_text("s" * 40)
    secret = SecretRef(ref=f"file:{folder / 'secret'}")
    store = Store(database=f"sqlite:///{folder / 'h.db'}", data=str(folder))
    replica = RetrievalReplica(ServingConfig(store=store, key_secret=secret, bootstrap_key=secret))
    await replica.start()
    try:
        yield replica
    finally:
        tasks = [task for task in (replica._working, replica._housekeeping, replica._watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await replica._database.close()


async def ingest(files: Sequence[tuple[str, bytes]]) -> tuple[float, float]:
    """Returns the seconds from the first attachment until the last file can be found, and the processor time."""
    with tempfile.TemporaryDirectory() as folder:
        async with running_replica(Path(folder)) as replica:
            ids = []
            for name, data in files:
                file_id = new_id("file")
                blob = await replica._blobs.write(BENCH, file_id, _stream(data), max_bytes=len(data))
                about = {"filename": name, "purpose": "assistants", "bytes": blob.bytes, "sha256": blob.sha256}
                await replica._files.create(BENCH, file_id, kind="text", access=None, **about)
                ids.append(file_id)
            store = await replica._stores.create(BENCH, name="bench")
            started, used = time.perf_counter(), processor_s()
            for file_id in ids:
                await replica._stores.attach(BENCH, store.id, file_id)
            while True:
                counts = (await replica._stores.get(BENCH, store.id)).file_counts
                if not counts.in_progress:
                    break
                await asyncio.sleep(0.2)  # to look costs time too
            took, used = time.perf_counter() - started, processor_s() - used
            if counts.completed != len(files):
                raise SystemExit(f"{counts.completed} of {len(files)} files were ingested")
            return took, used


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


def processor_s() -> float:
    """Processor time of this process and of the server that parses, with its children."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children())]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


def documents(folder: Path, count: int) -> list[tuple[str, bytes]]:
    """Returns `count` documents of a folder (0: all); further ones are copies whose names, and so chunks, differ."""
    found = [
        (path.name, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and is_document(path.name)
    ]
    repeated = islice(cycle(found), count or len(found))
    return [(f"{number}-{name}", data) for number, (name, data) in enumerate(repeated)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval.ingestion")
    parser.add_argument("folder", nargs="?", type=Path, default=CHECKOUT / "docs")
    parser.add_argument(
        "--files", type=int, default=0, help="number of documents, repeated if necessary; 0: each of them once"
    )
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    files = documents(given.folder, given.files)
    embedder = OnnxEmbedder()
    bodies = [chunk.body for name, data in files for chunk in chunk_isolated(data, name, ChunkSettings())]
    alone, ingested, alone_ms, ingested_ms = [], [], [], []
    for number in range(1, given.rounds + 1):
        began, used = time.perf_counter(), processor_s()
        embedder.embed(bodies)
        alone.append(len(bodies) / (time.perf_counter() - began))
        alone_ms.append(1000 * (processor_s() - used) / len(bodies))
        took, used = asyncio.run(ingest(files))
        ingested.append(len(bodies) / took)
        ingested_ms.append(1000 * used / len(bodies))
        print(
            f"round {number}: embedder {alone[-1]:.1f} chunks/s and {alone_ms[-1]:.1f} ms of a processor for each, "
            f"ingestion {ingested[-1]:.1f} chunks/s and {ingested_ms[-1]:.1f} ms",
            flush=True,
        )
    share = median(ingested) / median(alone)
    rates = f"{median(ingested):.1f} of {median(alone):.1f} chunks/s, {share:.0%}"
    processor = f"{median(ingested_ms):.1f} and {median(alone_ms):.1f} ms of a processor for each"
    print(f"{len(files)} files, {len(bodies)} chunks: {rates}; {processor}")


if __name__ == "__main__":
    main()
