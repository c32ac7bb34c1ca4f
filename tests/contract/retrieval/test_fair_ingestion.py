"""Documents of one tenant never take all places: another's are ingested while they are at work."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import pytest

from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.retrieval import ingest
from serving.retrieval.ingest import FILES_AT_ONCE, FILES_OF_ONE, LARGE
from serving.retrieval.replica import RetrievalReplica
from serving.retrieval.sandbox import chunk_isolated
from tests.contract.retrieval.test_reindex import running, settled
from tests.unit.retrieval import samples

HOSTILE, OTHER = (Principal(tenant=name, user="u", key_id="k") for name in ("a-hostile", "m-other"))


async def attach(replica: RetrievalReplica, who: Principal, store: str, name: str, text: bytes) -> str:
    file = new_id("file")
    blob = await replica._blobs.write(who, file, io.BytesIO(text), max_bytes=10 * LARGE)
    about: dict[str, Any] = {"purpose": "assistants", "bytes": blob.bytes, "sha256": blob.sha256}
    await replica._files.create(who, file, filename=name, kind="text/plain", **about)
    await replica._stores.attach(who, store, file)
    return file


@pytest.mark.parametrize("blank", [0, LARGE], ids=["small files", "large files"])
async def test_a_file_is_ingested_while_another_tenants_occupy_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: int
) -> None:
    """Files named `slow` are read by the real reader, but only once they are let go."""
    begun, let_go = threading.Semaphore(0), threading.Event()

    def slowly(data: bytes, name: str, *more: Any, **named: Any) -> Any:
        if name.startswith("slow"):
            begun.release()
            assert let_go.wait(600)
        return chunk_isolated(data, name, *more, **named)

    monkeypatch.setattr(ingest, "chunk_isolated", slowly)
    text = b"Everything that is known about the heron.\n" + b"\n" * blank
    async with running(tmp_path) as replica:
        try:
            theirs, mine = [(await replica._stores.create(who)).id for who in (HOSTILE, OTHER)]
            for number in range(FILES_AT_ONCE):
                await attach(replica, HOSTILE, theirs, f"slow{number}.txt", text)
            assert await asyncio.to_thread(begun.acquire, timeout=300)
            async with asyncio.timeout(120):
                while len((await replica._jobs.list(HOSTILE, status="running")).items) < FILES_OF_ONE:
                    await asyncio.sleep(0.02)
            file = await attach(replica, OTHER, mine, "quick.txt", text)
            async with asyncio.timeout(120):
                while (await replica._stores.get_file(OTHER, mine, file)).status != "completed":
                    await asyncio.sleep(0.02)
            counts = (await replica._stores.get(HOSTILE, theirs)).file_counts
            assert (counts.in_progress, counts.completed) == (FILES_AT_ONCE, 0)
        finally:
            let_go.set()
        await settled(replica)
        assert (await replica._stores.get(HOSTILE, theirs)).file_counts.completed == FILES_AT_ONCE


async def test_files_that_expand_fail_and_say_why(tmp_path: Path) -> None:
    """Eight of them were ingested as 156 million characters, while everybody's documents waited."""
    workbook = samples.xlsx({"Sheet": [["word " * 6_400]] * 610})
    assert len(workbook) < 9_000
    async with running(tmp_path) as replica:
        store = (await replica._stores.create(HOSTILE)).id
        files = [await attach(replica, HOSTILE, store, f"{number}.xlsx", workbook) for number in range(8)]
        await settled(replica)
        found = [await replica._stores.get_file(HOSTILE, store, file) for file in files]
    assert {(file.status, file.error_code, file.usage_bytes) for file in found} == {("failed", "unsupported_file", 0)}
    assert {file.error_message for file in found} == {
        "the text has more than 1,000,000 characters, the limit for this file"
    }
