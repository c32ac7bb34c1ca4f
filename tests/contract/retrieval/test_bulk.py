"""Bulk ingestion of a folder into a collection: each document once, even when the load is killed and resumed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lancedb
import pytest
from sqlalchemy import select

from serving.config import Store
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.retrieval.bulk import command, load
from serving.retrieval.bulk.__main__ import main
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.store.access import Access
from serving.store.errors import Conflict
from serving.store.files import DELETE_BLOB, Files
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.tables import files, vector_store_files, vector_stores
from serving.store.upkeep import loading
from serving.store.upkeep.indexes import Indexes, StoreIndexes
from serving.store.upkeep.loading import LoadedFile
from serving.store.vector_store import OPTIMIZE, UNINDEX
from serving.store.vector_stores import VectorStores
from tests.replace import replace

ROOT = Path(__file__).parents[3]
ADMIN = Principal("default", "admin", "test")


@pytest.fixture
def state(tmp_path: Path) -> dict[str, Any]:
    """The state folder of a stopped stack, and a folder of twelve documents."""
    database = f"sqlite:///{tmp_path / 'headrace.db'}"
    folder = tmp_path / "documents"
    (folder / "deep").mkdir(parents=True)
    for number in range(12):
        place = folder / "deep" if number % 2 else folder
        (place / f"{number}.md").write_text(f"# Page {number}\n\nThe port of service {number} is {7000 + number}.\n")
    store = Database.from_config(Store(database=database, data=str(tmp_path)))

    async def prepare() -> None:
        await store.start()
        await store.close()

    asyncio.run(prepare())
    return {"database": database, "data": str(tmp_path), "folder": folder}


def arguments(state: dict[str, Any], *more: str) -> list[str]:
    where = ["--database", state["database"], "--data", state["data"]]
    return [str(state["folder"]), "--collection", "handbook", "--here", "--batch", "2", *where, *more]


def rows(state: dict[str, Any], table: Any) -> list[Any]:
    @uninterrupted
    async def read() -> list[Any]:
        database = Database.from_config(Store(database=state["database"], data=state["data"]))
        try:
            async with database.read() as connection:
                return list((await connection.execute(select(table))).all())
        finally:
            await database.close()

    return asyncio.run(read())


def indexed(state: dict[str, Any]) -> Counter[str]:
    """Returns the number of chunks of each file in the index."""
    [store] = rows(state, vector_stores)
    table = lancedb.connect(f"{state['data']}/collections").open_table(store.id)
    return Counter(row["file_id"] for row in table.search().limit(1_000).to_list())


def check_all_there(state: dict[str, Any]) -> None:
    there = rows(state, vector_store_files)
    assert {row.status for row in there} == {"completed"}
    assert all(row.extraction["characters_in_chunks"] == row.extraction["characters"] > 0 for row in there)
    assert sorted(row.attributes["path"] for row in there) == sorted(
        path.relative_to(state["folder"]).as_posix() for path in state["folder"].rglob("*.md")
    )
    assert indexed(state) == Counter(row.file_id for row in there)  # of one chunk each
    assert {row.id for row in rows(state, files)} == {row.file_id for row in there}


@pytest.mark.full
def test_a_load_resumes_after_kill_9_at_any_point(state: dict[str, Any]) -> None:
    """Half of the kills hit between the index and the rows, where a retry must write the same under the same ids."""
    program = """
import os, signal, sys
from serving.retrieval.bulk import __main__, command
from serving.retrieval.index import CollectionIndex
point, count = sys.argv[1], int(sys.argv[2])
def deadly(method):
    def call(*args, **options):
        global count
        done = method(*args, **options)
        count -= 1
        if not count:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return call
if point == "index":
    CollectionIndex.upsert_files = deadly(CollectionIndex.upsert_files)
else:
    command.Rate.__call__ = deadly(command.Rate.__call__)
sys.exit(__main__.main(sys.argv[3:]))
"""
    for point, count in (("index", "2"), ("rows", "2")):
        command = [sys.executable, "-c", program, point, count, *arguments(state)]
        killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = len(rows(state, vector_store_files))
    assert 0 < before < 12
    assert main(arguments(state)) == 0
    check_all_there(state)


def test_a_load_skips_existing_documents_and_reports_unreadable_ones(
    state: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(state, "--dry-run")) == 0
    assert rows(state, vector_stores) == []
    (state["folder"] / "bad.pdf").write_bytes(b"%PDF-1.4 not a document")
    assert main(arguments(state)) == 1
    assert "bad.pdf: the PDF is truncated" in capsys.readouterr().err
    (state["folder"] / "bad.pdf").unlink()
    before = rows(state, files)
    (state["folder"] / "0.md").write_text("# Page 0\n\nAnother text.\n")
    assert main(arguments(state)) == 1
    assert "0.md: is already loaded with other content" in capsys.readouterr().err
    (state["folder"] / "0.md").unlink()
    assert main(arguments(state)) == 0
    assert rows(state, files) == before


def test_access_lists_of_a_load_are_written_to_the_rows_and_the_index(state: dict[str, Any]) -> None:
    assert main(arguments(state, "--restricted", "--share-with-groups", "legal")) == 0
    names = ["group:legal", "user:admin"]
    assert [row.access for row in rows(state, vector_store_files)] == [names] * 12
    assert [row.access for row in rows(state, files)] == [names] * 12
    [store] = rows(state, vector_stores)
    assert store.access == names
    table = lancedb.connect(f"{state['data']}/collections").open_table(store.id)
    assert all(row["access"].count("[") == 2 for row in table.search().limit(100).to_list())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--user", "nobody"), "no such user"),
        (("--tenant", "elsewhere"), "no such user"),
        (("--database", "sqlite:////nowhere/h.db"), "error:"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    state: dict[str, Any], more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(state, *more)) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert rows(state, vector_stores) == []


def test_nothing_is_committed_while_the_index_is_rewritten(state: dict[str, Any]) -> None:
    """A rewrite of the index would lose chunks committed meanwhile; a job that waits is not started during the load."""
    assert main(arguments(state)) == 0
    [store] = rows(state, vector_stores)
    wrote: list[str] = []

    async def write() -> None:
        wrote.append("index")

    async def attach(name: str) -> None:
        file = LoadedFile(f"file-{name}", name, "0" * 64, 1, "markdown", 0)
        await loading.attach(database, ADMIN, store.id, store.id, [file], None, set(), write)

    async def attempts() -> None:
        await attach("while-optimisation-waits.md")
        assert await Jobs(database).claim([OPTIMIZE], "worker", 60)
        with pytest.raises(Conflict, match=OPTIMIZE):
            await attach("while-it-runs.md")
        await database.close()

    database = Database.from_config(Store(database=state["database"], data=state["data"]))
    asyncio.run(attempts())
    assert wrote == ["index"]
    assert "file-while-it-runs.md" not in {row.id for row in rows(state, files)}


def test_an_index_under_replacement_accepts_no_documents(
    state: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does an index that is replaced during the load: the documents would be removed with it."""
    upsert = CollectionIndex.upsert_files

    def meanwhile(index: CollectionIndex, *more: Any) -> None:
        upsert(index, *more)
        [store] = rows(state, vector_stores)
        replaced.append(store.id)

    replaced: list[str] = []
    rate = command.Rate.__call__

    def switch(self: command.Rate, outcome: Any) -> None:
        rate(self, outcome)
        if len(replaced) == 1:
            change(state, replaced[0], lambda at: at.begun("next").switched("another"))

    monkeypatch.setattr(CollectionIndex, "upsert_files", meanwhile)
    monkeypatch.setattr(command.Rate, "__call__", switch)
    assert main(arguments(state)) == 1
    assert "is being re-indexed for another embedder" in capsys.readouterr().err
    assert len(rows(state, vector_store_files)) == 2


def change(state: dict[str, Any], store_id: str, change: Callable[[StoreIndexes], StoreIndexes]) -> None:
    async def changed() -> None:
        database = Database.from_config(Store(database=state["database"], data=state["data"]))
        await Indexes(database).change(store_id, change)
        await database.close()

    with ThreadPoolExecutor(1) as pool:  # the load has a loop of its own here
        pool.submit(asyncio.run, changed()).result()


def test_an_index_of_another_embedder_is_refused_in_one_line(
    state: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async def prepare() -> None:
        database = Database.from_config(Store(database=state["database"], data=state["data"]))
        store = await VectorStores(database, Jobs(database)).create(ADMIN, name="handbook")
        other = CollectionManifest("another", 8, 256, 32, "1")
        CollectionIndex.open(f"{state['data']}/collections", store.id, other, create=True)
        await database.close()

    asyncio.run(prepare())
    assert main(arguments(state)) == 1
    assert "error: handbook was built with other settings than this command" in capsys.readouterr().err


def test_chunks_of_a_killed_load_are_removed_when_the_document_has_changed(
    state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert = CollectionIndex.upsert_files

    def killed(*more: Any) -> None:
        upsert(*more)
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(CollectionIndex, "upsert_files", killed)
        assert main(arguments(state)) == 1
    assert len(indexed(state)) == 2
    (state["folder"] / "0.md").write_text("# Page 0\n\nAnother text.\n")
    assert main(arguments(state)) == 0
    check_all_there(state)


def test_removed_documents_are_loaded_again_after_their_removal_ends(
    state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ids are the same, so a pending removal would also remove the new documents."""
    assert main(arguments(state)) == 0
    [store] = rows(state, vector_stores)
    detached, deleted, waiting = (row.file_id for row in rows(state, vector_store_files)[:3])

    async def remove() -> None:
        database = Database.from_config(Store(database=state["database"], data=state["data"]))
        queue = Jobs(database)
        stores = VectorStores(database, queue)
        await stores.detach(ADMIN, store.id, detached)
        await Files(database, queue, stores).delete(ADMIN, deleted)
        await stores.attach(ADMIN, store.id, waiting, access=Access([], []))  # it is ingested anew
        await database.close()

    asyncio.run(remove())
    tries: list[float] = []

    async def settle(seconds: float) -> None:
        tries.append(seconds)
        database = Database.from_config(Store(database=state["database"], data=state["data"]))
        queue = Jobs(database)
        while job := await queue.claim([OPTIMIZE, UNINDEX, DELETE_BLOB], "worker", 60):
            await queue.complete(job)
        await database.close()

    replace(monkeypatch, load, asyncio, sleep=settle)
    assert main(arguments(state)) == 0
    assert tries == [load.BUSY_S]
    there = {row.file_id: row.status for row in rows(state, vector_store_files)}
    assert len(there) == 12
    assert (there[detached], there[deleted], there[waiting]) == ("completed", "completed", "in_progress")
    assert {detached, deleted} <= {row.id for row in rows(state, files)}
