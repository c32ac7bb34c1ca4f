"""The drill: make data, back up, lose everything, restore, and find the same; and what is refused on the way."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sqlalchemy import select

from serving.config import Store
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.types import Chunk
from serving.security.audit import AuditLog
from serving.store.__main__ import main
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import StoreUnavailable
from serving.store.feedback import Rating, Ratings
from serving.store.files import Files
from serving.store.idempotency import IdempotencyKeys, KeptAnswer, claim_of
from serving.store.jobs import pause as pause_module
from serving.store.jobs.pause import paused
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import JobContext, Worker
from serving.store.keys import Keys
from serving.store.memories import Memories
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.objects.sealed import Unreadable, new_key, read_key
from serving.store.relational.database import Database
from serving.store.relational.migration import HEAD
from serving.store.relational.tables import meta, metadata
from serving.store.responses import NewResponse
from serving.store.summaries import Summaries
from serving.store.tenants import Tenants
from serving.store.turn_vectors import TurnVectors
from serving.store.upkeep import archive
from serving.store.upkeep.archive import BadArchive, NotEmpty, backup, restore
from serving.store.upkeep.condition import BACKED_UP, Condition
from serving.store.users import Users
from serving.store.vector_stores import INGEST, VectorStores
from tests.store.captures import TURN, capture

MANIFEST = CollectionManifest("test-embedder", 8, 200, 30, "1")
ME = Principal(tenant="acme", user="alice", key_id="key_a")


class State:
    """A stack's state without the stack."""

    def __init__(self, url: str, where: str, endpoint: str | None = None) -> None:
        self.store = Store(database=url, data=where, endpoint=endpoint)
        self.database = Database.from_config(self.store)
        self.jobs = Jobs(self.database, backoff_s=0.01)
        self.vector_stores = VectorStores(self.database, self.jobs)
        self.files = Files(self.database, self.jobs, self.vector_stores)
        self.blobs = Blobs(data.place(self.store, data.FILES))
        self.keys = Keys(self.database)
        self.conversations = Conversations(self.database)
        self.captures = Captures(self.database)
        self.ratings = Ratings(self.database)

    async def upload(self, content: bytes, name: str = "a.md") -> str:
        id = new_id("file")
        blob = await self.blobs.write(ME, id, io.BytesIO(content), max_bytes=len(content))
        given = {"filename": name, "purpose": "assistants", "bytes": blob.bytes, "sha256": blob.sha256}
        await self.files.create(ME, id, kind="text/plain", **given)
        return id

    def index(self, store_id: str, *, create: bool = False) -> CollectionIndex:
        uri, options = data.collections(self.store)
        return CollectionIndex.open(uri, store_id, MANIFEST, create=create, options=options)

    async def ingest(self, context: JobContext) -> dict[str, Any]:
        """What retrieval does, with the file's text as its only chunk."""
        store_id, file_id = context.job.payload["vector_store_id"], context.job.payload["file_id"]
        text = (await self.blobs.read(context.principal, file_id)).decode()
        chunk = Chunk(0, "Title", "Heading", text, 0, len(text), None)
        index = self.index(store_id, create=True)
        await asyncio.to_thread(index.upsert_file, "acme", file_id, "a.md", [chunk], np.eye(8, dtype=np.float32)[:1])
        await asyncio.to_thread(index.optimize)
        return {"usage_bytes": len(text)}

    async def work(self) -> None:
        worker = Worker(self.jobs, {INGEST: self.ingest}, poll_s=0.01)
        running = asyncio.create_task(worker.run())
        while await self.jobs.unfinished():
            await asyncio.sleep(0.01)
        worker.stop()
        await running

    async def fill(self) -> str:
        """Makes something of everything; returns the id of the vector store."""
        await self.database.migrate()
        await AuditLog(self.database, "s" * 40).record(ME, "key.create", "key_a", subject="bob")
        await Tenants(self.database).create(ME.tenant, name="Acme \U0001f511")
        subject = ("https://id", "ü")
        await Users(self.database).signed_in(
            ME.tenant, ME.user, subject=subject, role="admin", groups=["ü"], fresh=True
        )
        await self.keys.add(ME, "a" * 64, name="schlüssel \U0001f511", scopes=["data:read"])
        ids = [await self.upload(text.encode(), name) for text, name in (("the heron stands", "h.md"), ("a mill", "ü"))]
        store = await self.vector_stores.create(ME, name="birds", metadata={"a": "1"})
        for id in ids:
            await self.vector_stores.attach(ME, store.id, id, attributes={"n": 0.1, "b": True, "s": "x"})
        await self.upload(b"attached to nothing" * 100_000)
        talk = await self.conversations.create(ME, metadata={"a": "1"}, items=[{"type": "message", "role": "user"}])
        await Summaries(self.database).put(ME, None, await self.conversations.following(ME, talk.id), "they met")
        await Memories(self.database).add(ME, "a", "likes tea")
        vectors = TurnVectors(self.database)
        [turn] = await vectors.waiting(ME, talk.id, "e", keep=1, limit=1)
        await vectors.put(ME, talk.id, "a", "e", {turn: "AP/+"}, keep=1)
        made, other = capture(ME, conversation_id=talk.id), capture(ME)
        await self.captures.record(ME, made, turn=(talk.id, TURN))
        await self.captures.record(ME, other)
        claim = claim_of(ME, "k", "f" * 64)
        await IdempotencyKeys(self.database).claim(claim)
        answer = KeptAnswer("application/json", b'{"id":"\xc3\xbc"}')
        await IdempotencyKeys(self.database).keep(claim, answer, other.id, {"capture_id": other.id})
        response = NewResponse({"id": "resp_1", "output": []}, TURN, "resp_1")
        await self.captures.record(ME, capture(ME, id="resp_1", session_id="resp_1"), response=response)
        await self.ratings.create(ME, ("response", made.id), Rating(score=0.1, tags=["ü"], rejected_id=other.id))
        await self.work()
        await self.jobs.enqueue(ME, "other", {"deep": [{"x": None}]}, dedupe_key="d", delay_s=1e6)
        return store.id

    @uninterrupted
    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        """All that an archive holds: when this database had its newest backup is its own matter."""
        async with self.database.read() as connection:
            return {
                table.name: [
                    dict(r)
                    for r in (await connection.execute(select(table).order_by(*key))).mappings()
                    if not (table is meta and r["key"] == BACKED_UP)
                ]
                for table in metadata.sorted_tables
                for key in [list(table.primary_key.columns)]
            }

    def contents(self) -> dict[str, bytes]:
        place = data.place(self.store, data.FILES)
        found = {}
        for name, _ in place.names():
            with place.open(name) as file:
                found[name] = file.read()
        return found

    def search(self, store_id: str) -> list[tuple[str, float]]:
        hits = self.index(store_id).search("acme", "heron", np.eye(8, dtype=np.float32)[0], 5)
        return [(hit.text, hit.score) for hit in hits]

    async def save(self, target: Path) -> Path:
        return await backup(self.store, self.database, target, patience_s=60, say=lambda _: None)

    async def load(self, source: Path, *, force: bool = False) -> None:
        await restore(self.store, self.database, source, force=force, say=lambda _: None)


States = Callable[..., State]


@pytest.fixture
async def new_state(new_url: Callable[[], str], tmp_path: Path):
    made: list[State] = []

    def make(**given: Any) -> State:
        place = given.pop("where", f"{tmp_path}/data{len(made)}")
        made.append(State(given.pop("url", None) or new_url(), place, **given))
        return made[-1]

    yield make
    for state in made:
        await state.database.close()


async def same(one: State, other: State, store_id: str) -> None:
    assert await one.rows() == await other.rows()
    assert one.contents() == other.contents()
    assert len(one.search(store_id)) == 2
    assert one.search(store_id) == other.search(store_id)


async def test_drill(new_state: States, tmp_path: Path) -> None:
    state = new_state()
    store_id = await state.fill()
    rows, contents, hits = await state.rows(), state.contents(), state.search(store_id)
    assert await Condition(state.database).backed_up() is None
    path = await state.save(tmp_path)
    assert await Condition(state.database).backed_up() is not None
    assert path.name.startswith("headrace-2")
    assert path.stat().st_mode & 0o777 == 0o600
    # All is lost: another database, another folder.
    shutil.rmtree(state.store.data)
    new = new_state()
    await new.load(path)
    assert await new.rows() == rows
    assert new.contents() == contents
    assert new.search(store_id) == hits
    # And life goes on: ids are given, jobs are numbered and done.
    id = await new.upload(b"an otter")
    await new.vector_stores.attach(ME, store_id, id)
    job = (await new.jobs.list(ME, kind=INGEST)).items[0]
    assert job.payload["file_id"] == id
    claimed = await new.jobs.claim([INGEST], "w", 10)
    assert claimed is not None
    await new.jobs.complete(claimed, await new.ingest(JobContext(new.jobs, claimed, 10)))
    assert (await new.vector_stores.get(ME, store_id)).file_counts.completed == 3


async def test_from_one_database_to_the_other(new_state: States, postgres, tmp_path: Path) -> None:
    state = new_state()
    store_id = await state.fill()
    path = await state.save(tmp_path / "a.tar")
    other = f"sqlite:///{tmp_path}/other.db" if not state.database.is_sqlite else postgres.database()
    moved = new_state(url=other)
    await moved.load(path)
    await same(state, moved, store_id)


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
async def test_drill_with_a_bucket(new_state: States, s3, tmp_path: Path) -> None:
    one, two = (new_state(where=s3.store().data, endpoint=s3.endpoint) for _ in range(2))
    store_id = await one.fill()
    path = await one.save(tmp_path / "a.tar")
    await two.load(path)
    await same(one, two, store_id)
    # And out of the bucket into a folder.
    three = new_state()
    await three.load(path)
    await same(one, three, store_id)


async def test_what_is_there_is_kept_without_force(new_state: States, tmp_path: Path) -> None:
    state = new_state()
    await state.fill()
    path = await state.save(tmp_path / "a.tar")
    other = new_state()
    store_id = await other.fill()
    before = await other.rows(), other.contents(), other.search(store_id)
    with pytest.raises(NotEmpty, match="--force"):
        await other.load(path)
    assert (await other.rows(), other.contents(), other.search(store_id)) == before
    await other.load(path, force=True)
    assert (await other.rows(), other.contents()) == (await state.rows(), state.contents())
    assert {name.split(".")[0] for name, _ in data.place(other.store, data.COLLECTIONS).names()} == {
        name.split(".")[0] for name, _ in data.place(state.store, data.COLLECTIONS).names()
    }


async def test_a_stack_that_only_has_its_first_key_is_empty(new_state: States, tmp_path: Path) -> None:
    state = new_state()
    await state.fill()
    path = await state.save(tmp_path / "a.tar")
    fresh = new_state()
    await fresh.database.migrate()
    await fresh.keys.add_bootstrap("b" * 64)
    await fresh.load(path)
    assert await fresh.rows() == await state.rows()


def edited(path: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
    """Writes an archive anew with other members."""
    with tarfile.open(path) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}
    edit(members)
    out = path.with_name("edited.tar")
    with tarfile.open(out, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out


def _manifest(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def edit(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), **changes}).encode()

    return edit


def _climbing(members: dict[str, bytes]) -> None:
    manifest = json.loads(members["manifest.json"])
    note = next(m for m in manifest["members"] if m["name"].startswith("files/"))
    content = members.pop(note["name"])
    note["name"] = "files/../../evil"
    members[note["name"]] = content
    members["manifest.json"] = json.dumps(manifest).encode()


def _first(folder: str, members: dict[str, bytes]) -> str:
    return next(name for name in members if name.startswith(folder))


BROKEN: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "no end": (lambda m: m.pop("manifest.json"), "no end"),
    "changed row": (lambda m: m.update({"database/files.jsonl": m["database/files.jsonl"] + b" "}), "files.jsonl"),
    "changed file": (lambda m: m.update({_first("files/", m): b"other"}), "differ from its manifest"),
    "missing file": (lambda m: m.pop(_first("files/", m)), "differ from its manifest"),
    "one more": (lambda m: m.update({"files/acme/file-x": b""}), "differ from its manifest"),
    "newer archive": (_manifest(archive=2), "archive has format 2"),
    "newer rows": (_manifest(schema_format=99), "rows have format 99"),
    "odd manifest": (lambda m: m.update({"manifest.json": b"{}"}), "damaged or incomplete"),
    "a name that climbs": (_climbing, "evil"),
}


class Filled(NamedTuple):
    """A folder with a database of SQLite and its data, an archive of them, and the id of the vector store."""

    folder: Path
    archive: Path
    store_id: str


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A state that is made once: to make one takes a second."""
    folder, archived = tmp_path_factory.mktemp("filled"), tmp_path_factory.mktemp("archive") / "a.tar"

    async def make() -> str:
        state = State(f"sqlite:///{folder}/headrace.db", f"{folder}/data")
        store_id = await state.fill()
        await state.save(archived)
        await state.database.close()
        return store_id

    with ThreadPoolExecutor(1) as elsewhere:  # this thread's event loop may be a test's
        return Filled(folder, archived, elsewhere.submit(asyncio.run, make()).result())


@pytest.fixture
async def state(filled: Filled, tmp_path: Path) -> AsyncIterator[State]:
    """A copy of that state, which a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(filled.folder, folder)
    state = State(f"sqlite:///{folder}/headrace.db", f"{folder}/data")
    yield state
    await state.database.close()


@pytest.mark.parametrize("case", BROKEN)
async def test_broken_archive_loses_nothing(filled: Filled, state: State, tmp_path: Path, case: str) -> None:
    edit, reason = BROKEN[case]
    archived, store_id = tmp_path / "a.tar", filled.store_id
    shutil.copy(filled.archive, archived)
    before = await state.rows(), state.contents(), state.search(store_id)
    with pytest.raises(BadArchive, match=reason):
        await state.load(edited(archived, edit), force=True)
    assert (await state.rows(), state.contents(), state.search(store_id)) == before


def test_every_truncation_is_refused(filled: Filled) -> None:
    whole = filled.archive.read_bytes()
    end = len(whole.rstrip(b"\0"))
    for size in [0, 1, 511, 512, 1000, *range(1024, end, max(1, end // 60)), end - 1]:
        with pytest.raises(BadArchive):
            archive.check(io.BytesIO(whole[:size]))
    archive.check(io.BytesIO(whole))


def test_flipped_bits_are_refused(filled: Filled) -> None:
    whole = filled.archive.read_bytes()
    with tarfile.open(filled.archive) as tar:
        offsets = [info.offset_data + info.size // 2 for info in tar if info.size]
    for offset in offsets:
        broken = bytearray(whole)
        broken[offset] ^= 1
        with pytest.raises(BadArchive):
            archive.check(io.BytesIO(bytes(broken)))


async def test_backup_of_a_live_stack_fits_together(new_state: States, tmp_path: Path) -> None:
    """While files come, go and are ingested, every archive holds for each row its content and its chunks."""
    state = new_state()
    store_id = await state.fill()

    async def unindex(context: JobContext) -> None:
        index = state.index(context.job.payload["vector_store_id"])
        await asyncio.to_thread(index.delete_file, "acme", context.job.payload["file_id"])

    async def delete_blob(context: JobContext) -> None:
        await state.blobs.delete(context.principal, context.job.payload["file_id"])

    handlers = {INGEST: state.ingest, "unindex_file": unindex, "delete_blob": delete_blob}
    worker = Worker(state.jobs, handlers, poll_s=0.01)
    working = asyncio.create_task(worker.run())
    stop = asyncio.Event()

    async def busy() -> None:
        while not stop.is_set():
            id = await state.upload(os.urandom(50).hex().encode())
            await state.vector_stores.attach(ME, store_id, id)
            old = (await state.files.list(ME, order="asc", limit=20)).items
            if len(old) > 8:
                await state.files.delete(ME, old[3].id)

    load = asyncio.create_task(busy())
    paths = []
    for n in range(3):
        while await state.jobs.unfinished() == {("other", "queued"): 1}:
            await asyncio.sleep(0.01)
        paths.append(await state.save(tmp_path / f"{n}.tar"))
        assert not load.done()  # requests went on
    stop.set()
    await load
    worker.stop()
    await working
    for n, path in enumerate(paths):
        new = new_state()
        await new.load(path)
        contents = new.contents()
        rows = await new.rows()
        assert {f"acme/{row['id']}" for row in rows["files"]} <= contents.keys()
        table = new.index(store_id)._table.search().select(["file_id"]).to_arrow()
        indexed = set(table["file_id"].to_pylist())
        attached = {row["file_id"]: row["status"] for row in rows["vector_store_files"]}
        assert {id for id, status in attached.items() if status == "completed"} <= indexed, n
        # What is indexed and no longer attached waits for its removal.
        queued = {r["payload"].get("file_id") for r in rows["jobs"] if r["status"] == "queued"}
        assert indexed - attached.keys() <= queued, n


async def test_pause_holds_work_and_ends(new_state: States) -> None:
    state = new_state()
    await state.fill()
    await state.jobs.enqueue(ME, "work", {})
    async with paused(state.database, patience_s=1, say=print) as still:
        assert await state.jobs.claim(["work"], "w", 10) is None
        with pytest.raises(StoreUnavailable, match="another backup or restore"):
            async with paused(state.database, patience_s=1, say=print):
                pass
        still()
    assert await state.jobs.claim(["work"], "w", 10) is not None
    with pytest.raises(StoreUnavailable, match="1 jobs still run after 0 s"):
        async with paused(state.database, patience_s=0, say=print):
            pass
    assert await state.jobs.claim(["work"], "w", 10) is None  # nothing is left to claim, and nothing is paused
    assert "paused" not in {row["key"] for row in (await state.rows())["meta"]}


async def test_pause_of_a_killed_backup_ends(new_state: States, monkeypatch: pytest.MonkeyPatch) -> None:
    state = new_state()
    await state.database.migrate()
    await state.jobs.enqueue(ME, "work", {})
    await pause_module._begin(state.database, "pause_dead")
    assert await state.jobs.claim(["work"], "w", 10) is None
    moment = pause_module.now() + pause_module.LEASE_S + 1
    monkeypatch.setattr(pause_module, "now", lambda: moment)
    assert await state.jobs.claim(["work"], "w", 10) is not None


async def test_pause_waits_for_claims_under_way(new_state: States) -> None:
    """Whoever looked before the pause began commits its claim first, so that the pause sees it."""
    state = new_state()
    await state.database.migrate()
    began = asyncio.Event()

    async def pause() -> None:
        async with paused(state.database, patience_s=10, say=lambda _: None):
            began.set()

    @uninterrupted
    async def claim() -> asyncio.Task[None]:
        async with state.database.write() as connection:
            assert not await pause_module.active(connection, claiming=True)
            pausing = asyncio.create_task(pause())
            await asyncio.sleep(0.5)
            assert not began.is_set()
        return pausing

    await (await claim())
    assert began.is_set()


async def test_failed_backup_leaves_nothing(state: State, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    secret = Path(state.store.data) / "files" / "acme"
    (secret / "file-dir").mkdir()
    (secret / "file-dir" / "gone").symlink_to("/nonexistent/loop")
    await state.save(folder)  # what cannot be opened because it is not there was nobody's
    (archived,) = folder.iterdir()
    archived.unlink()
    await state.jobs.enqueue(ME, "work", {})
    assert await state.jobs.claim(["work"], "w", 60) is not None
    with pytest.raises(StoreUnavailable, match="still run"):
        await backup(state.store, state.database, folder, patience_s=0, say=print)
    assert list(folder.iterdir()) == []
    (folder / "there.tar").write_text("")
    with pytest.raises(NotEmpty, match="exists"):
        await state.save(folder / "there.tar")


def program(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.store", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )


async def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Runs the program in this process; returns its status and what it says."""
    status = await asyncio.to_thread(main, list(arguments))
    return status, *capsys.readouterr()


async def test_program(new_state: States, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = new_state()
    config = tmp_path / "serving.json"
    secret = {"ref": "file:/none"}
    config.write_text(json.dumps({"store": state.store.model_dump(mode="json"), "key_secret": secret}))
    given = ("--config", str(config))
    early = await asyncio.to_thread(program, "wait", *given, "--timeout", "0")
    assert early.returncode == 1
    assert "error: not within 0 s:" in early.stderr.splitlines()[-1]
    for command in ("migrate", "wait"):
        status, _, said = await called(capsys, command, *given)
        assert status == 0, said
        assert said.rstrip().endswith(f"has format {HEAD}")
    store_id = await state.fill()
    status, path, said = await called(capsys, "backup", str(tmp_path), *given)
    assert status == 0, said
    status, _, said = await called(capsys, "restore", path.strip(), *given)
    assert status == 1
    assert "--force" in said
    new = new_state()
    where = ("--database", new.store.database, "--data", new.store.data)
    status, _, said = await called(capsys, "restore", path.strip(), *where)
    assert status == 0, said
    await same(state, new, store_id)


def test_program_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["migrate"], "serving.json: No such file"),
        (["migrate", "--database", "sqlite:////x"], "belong together"),
        (["backup", "x", "--database", "mysql://h/d", "--data", "/d"], "database"),
        (["restore", f"{tmp_path}/none", "--database", f"sqlite:///{tmp_path}/a.db", "--data", "/d"], "none"),
    ):
        assert main(arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert words in said
    for usage, status in (([], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as e:
            main(usage)
        assert e.value.code == status
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("migrate", "wait", "backup", "restore", "Exit status"))


@uninterrupted
async def test_wait_ends_when_another_migrates(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "serving.store", "wait", "--database", url, "--data", "/none", stderr=subprocess.PIPE
    )
    assert waiting.stderr is not None
    assert b"waiting: " in await waiting.stderr.readline()
    async with Database(url) as database:
        assert await waiting.wait() == 0
        async with database.write() as connection:
            await connection.execute(meta.update().where(meta.c.key == "format").values(value="99"))
    assert await asyncio.to_thread(main, ["wait", "--database", url, "--data", "/none"]) == 1
    assert "format 99" in capsys.readouterr().err


async def test_a_sealed_archive_needs_its_key(state: State, tmp_path: Path):
    mine = state
    (tmp_path / "key").write_text(new_key())
    (tmp_path / "other").write_text(new_key())
    key, other = [read_key((tmp_path / name).read_text()) for name in ("key", "other")]
    rows = await mine.rows()
    source = await backup(mine.store, mine.database, tmp_path, patience_s=5, say=lambda _: None, key=key)
    assert source.name.endswith(".tar.sealed")
    sealed = source.read_bytes()
    assert b"heron" not in sealed
    theirs = State(f"sqlite:///{tmp_path}/theirs.db", str(tmp_path / "theirs"))
    await theirs.database.migrate()
    empty = await theirs.rows()
    plain = await mine.save(tmp_path / "plain.tar")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(sealed[:-2000] + bytes([sealed[-2000] ^ 1]) + sealed[-1999:])
    cut = tmp_path / "cut"
    cut.write_bytes(sealed[:-1])
    for path, given, error in (
        (source, None, BadArchive),
        (source, other, Unreadable),
        (damaged, key, Unreadable),
        (cut, key, Unreadable),
        (plain, key, BadArchive),
    ):
        with pytest.raises(error):
            await restore(theirs.store, theirs.database, path, force=False, say=lambda _: None, key=given)
        assert await theirs.rows() == empty
    await restore(theirs.store, theirs.database, source, force=False, say=lambda _: None, key=key)
    assert await theirs.rows() == rows
    assert (await AuditLog(theirs.database, "s" * 40).verify("acme")).problems == []
    await theirs.database.close()


async def test_what_waits_on_disk_for_its_size_is_sealed_too(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = bytearray()

    class Seen(tempfile.SpooledTemporaryFile[bytes]):
        def write(self, content: bytes) -> int:  # type: ignore[override]
            waited.extend(content)
            return super().write(content)

    monkeypatch.setattr(archive, "IN_MEMORY", 1)
    monkeypatch.setattr(archive.tempfile, "SpooledTemporaryFile", Seen)
    plain = (await state.save(tmp_path / "plain.tar")).read_bytes()
    for word in (b"heron", b"alice", b'"rows"'):
        assert word in plain
        assert word not in waited
    assert len(waited) > len(plain) / 4


def test_the_command_seals(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    key, folder = tmp_path / "key", tmp_path / "to"
    folder.mkdir()
    where = ["--database", f"sqlite:///{tmp_path}/a.db", "--data", str(tmp_path / "data")]
    assert main(["key", str(key)]) == 0
    assert main(["migrate", *where]) == 0
    capsys.readouterr()
    assert main(["backup", *where, "--key", str(key), str(folder)]) == 0
    path = capsys.readouterr().out.strip()
    assert main(["restore", *where, path]) == 1
    assert "name its key with --key" in capsys.readouterr().err
    assert main(["restore", *where, "--key", str(key), path]) == 0
    assert main(["restore", *where, "--key", "env:NO_SUCH_KEY", path]) == 1
    assert main(["key", str(key)]) == 1  # it is there
