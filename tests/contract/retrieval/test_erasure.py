"""Forgetting: markers of a user are planted in every store, and then no byte of the stack's data holds one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import lancedb
import pytest
from sqlalchemy import select

import serving
from serving.api.state_sampler import KINDS
from serving.assistants.memory.jobs import REMEMBER
from serving.assistants.register import AssistantRegister
from serving.config import QuotaLimit, Store
from serving.core.ids import new_id
from serving.core.principal import SCOPES_OF, Principal
from serving.core.uninterrupted import uninterrupted
from serving.exports.export import Order
from serving.exports.manifest import Filters
from serving.exports.register import Register
from serving.exports.splits import parse
from serving.exports.writing import write
from serving.protocol.assistants import AssistantSettings
from serving.quotas.quota import quota
from serving.quotas.share import Want
from serving.retrieval.chunk_table import access_digest
from serving.retrieval.embed import Embedder
from serving.retrieval.ingest import Ingestion
from serving.security import erasure
from serving.security.audit import AuditLog
from serving.security.erasure import Erasures
from serving.store.access import Access, user_name
from serving.store.background.batches import BATCH
from serving.store.background.responses import RESPOND
from serving.store.background.webhooks import DELIVER
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.feedback import Rating, Ratings
from serving.store.files import Files
from serving.store.idempotency import IdempotencyKeys, KeptAnswer, claim_of
from serving.store.jobs.job import COMPACT, ERASE
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import Worker
from serving.store.keys import Keys
from serving.store.memories import Memories
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.quotas import QuotaStore
from serving.store.relational import belongings
from serving.store.relational.database import Database
from serving.store.relational.tables import batch_lines, batches, metadata
from serving.store.responses import NewResponse
from serving.store.sessions import Sessions
from serving.store.summaries import Summaries
from serving.store.tenants import Tenants
from serving.store.turn_vectors import TurnVectors
from serving.store.usage import ERASED, Usage, Used, Whose
from serving.store.users import Users
from serving.store.vector_stores import PURGE_INDEX, VectorStores
from tests.servers.postgres import Postgres
from tests.store import migrated
from tests.store.captures import capture

pytestmark = pytest.mark.long

ADMIN = Principal(tenant="acme", user="root", key_id="key_r", scopes=SCOPES_OF["admin"], role="admin")
ALICE = Principal(tenant="acme", user="zqxalice", key_id="key_a")
BOB = Principal(tenant="acme", user="wvybob", key_id="key_b")
NAMESAKE = Principal(tenant="other", user="zqxalice", key_id="key_n")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


class Stack:
    """The stores, and the worker of a retrieval replica."""

    def __init__(self, store: Store, embedder: Embedder, *, settle_s: float = 0) -> None:
        self.store = store
        self.database = Database.from_config(store)
        self.jobs = Jobs(self.database, backoff_s=0.01)
        self.vector_stores = VectorStores(self.database, self.jobs)
        self.files = Files(self.database, self.jobs, self.vector_stores)
        self.blobs = Blobs(data.place(store, data.FILES))
        self.tenants = Tenants(self.database)
        self.users = Users(self.database)
        self.sessions = Sessions(self.database, lifetime_s=3600, idle_s=3600)
        self.quotas = QuotaStore(self.database)
        self.usage = Usage(self.database)
        self.conversations = Conversations(self.database)
        self.captures = Captures(self.database)
        self.audit = AuditLog(self.database, "s" * 40)
        self.erasures = Erasures(
            self.database,
            self.jobs,
            self.files,
            self.vector_stores,
            self.audit.key,
            settle_s=settle_s,
            wait_s=0.2,
        )
        where = data.collections(store)
        self.ingestion = Ingestion(where, embedder, self.files, self.vector_stores, self.blobs, self.jobs)

    async def work(self) -> None:
        worker = Worker(self.jobs, {**self.ingestion.handlers, **self.erasures.handlers}, poll_s=0.01)
        running = asyncio.create_task(worker.run())
        while await self.jobs.unfinished():
            await asyncio.sleep(0.01)
        worker.stop()
        await running

    async def plant(self, who: Principal, store_id: str) -> None:
        """Says the user's name, which is the marker, in every place that can hold a text."""
        mark = f"{who.user} said so"
        talk = await self.conversations.create(who, metadata={"a": mark})
        items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": mark}]}]
        made = capture(who, mark, conversation_id=talk.id, metadata={"m": mark}, chunks=[{"text": mark}])
        await self.captures.record(who, made, turn=(talk.id, items))
        added = await self.conversations.following(who, talk.id)
        await Summaries(self.database).put(who, None, added, mark)
        await Memories(self.database).add(who, "a", mark)
        settings = AssistantSettings(model="m", instructions=mark)
        shared = Access(users=("zqxalice", "wvybob"))
        await AssistantRegister(self.database, 9).create(who, who.user, settings, shared)
        vectors = TurnVectors(self.database)
        [turn] = await vectors.waiting(who, talk.id, "e", keep=1, limit=1)
        await vectors.put(who, talk.id, "a", "e", {turn: "AP/+"}, keep=1)
        loose = capture(who, mark)
        await self.captures.record(who, loose)
        id = new_id("resp")
        response = NewResponse(
            {"id": id, "output": [{"id": new_id("msg"), "type": "message", "content": mark}]}, items, id
        )
        await self.captures.record(who, capture(who, mark, id=id, session_id=id), response=response)
        rating = Rating(thumb="down", comment=mark, correction=mark, tags=(mark,))
        await Ratings(self.database).create(who, ("response", loose.id), rating)
        claim = claim_of(who, "k", "f" * 64)
        await IdempotencyKeys(self.database).claim(claim)
        answer = KeptAnswer("application/json", json.dumps({"text": mark}).encode())
        await IdempotencyKeys(self.database).keep(claim, answer, loose.id, {"capture_id": loose.id})
        with suppress(Conflict):
            await self.tenants.create(who.tenant)
        subject = ("https://idp", f"{who.tenant} {mark}")
        await self.users.signed_in(who.tenant, who.user, subject=subject, role="user", groups=["staff"], fresh=True)
        key = await Keys(self.database).add(who, os.urandom(32).hex(), name=mark)
        await self.sessions.start(who, "idp", os.urandom(32).hex())
        limit = QuotaLimit(window="day", measure="requests", limit=5)
        whose = (("user", who.user), ("key", key.id))
        given = [quota(who.tenant, subject, id, limit, "tenant") for subject, id in whose]
        await self.quotas.put(who, given)
        await self.quotas.take("gw", [Want(each, 0, 9e9, 1, 1) for each in given], 0)
        await self.usage.add([(Whose(who.tenant, "2026-01-31", who.user, key.id, "m", "EUR"), Used(1, 2, 3, 4))])
        await self.jobs.cancel(who, (await self.jobs.enqueue(who, "other", {"text": mark})).id)
        await self.plant_batch(who, mark)
        file = await self.file(who)
        await self.vector_stores.attach(
            replace(who, role="admin", scopes=SCOPES_OF["admin"]), store_id, file, attributes={"by": mark}
        )
        for access in (Access(users=("zqxalice", "wvybob")), Access()):
            own = await self.vector_stores.create(who, name=mark, metadata={"m": mark}, access=access)
            await self.vector_stores.attach(who, own.id, file, access=access)
        await self.work()
        assert (await self.vector_stores.get_any_file(who.tenant, store_id, file)).status == "completed"

    @uninterrupted
    async def plant_batch(self, who: Principal, mark: str) -> None:
        """One that has ended, whose line says the user's name."""
        numbers = {"total": 1, "completed": 1, "failed": 0, "created_at": 1.0, "expires_at": 2.0}
        batch = {
            "id": new_id("batch"),
            "tenant": who.tenant,
            "user": who.user,
            "caller": {},
            "endpoint": "/v1/embeddings",
        }
        batch |= {"input_file_id": "file_0", "status": "completed", "times": {}, "metadata": {"m": mark}, **numbers}
        line = {"batch_id": batch["id"], "number": 1, "tenant": who.tenant, "request_id": "r", "status_code": 200}
        async with self.database.write() as connection:
            await connection.execute(batches.insert().values(batch))
            await connection.execute(batch_lines.insert().values(line | {"body": json.dumps(mark)}))

    async def file(self, who: Principal) -> str:
        content = f"# {who.user} said so\n\nA page of {who.user}.\n".encode()
        file = new_id("file")
        blob = await self.blobs.write(who, file, io.BytesIO(content), max_bytes=10_000)
        given: dict[str, Any] = {"purpose": "assistants", "bytes": blob.bytes, "sha256": blob.sha256}
        await self.files.create(who, file, filename=f"{who.user}.md", kind="text/markdown", **given)
        return file

    async def erase(self, user: str = ALICE.user, *, dry_run: bool = False) -> Job:
        subject = None if dry_run else await self.audit.pseudonym("acme", user)
        job = await self.erasures.request(ADMIN, user, subject, dry_run=dry_run)
        await self.work()
        return await self.jobs.get(ADMIN, job.id)

    @uninterrupted
    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        async with self.database.read() as connection:
            return {
                table.name: [dict(row) for row in (await connection.execute(select(table))).mappings()]
                for table in metadata.sorted_tables
            }

    def chunks(self, store_id: str) -> list[dict[str, Any]]:
        """Every row of every version of an index that is left."""
        table = lancedb.connect(f"{self.store.data}/collections").open_table(store_id)
        rows = []
        for version in table.list_versions():
            table.checkout(version["version"])
            rows += table.to_arrow().drop_columns(["vector"]).to_pylist()
        return rows


def holding(folder: Path, marker: str) -> list[str]:
    """Returns the files below a folder that hold a marker, in whatever case or encoding of ours."""
    spellings = [marker.encode(), marker.upper().encode(), marker.encode("utf-16-le")]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        path.name
        for path in files
        if any(s in path.read_bytes() or s.decode("latin-1") in str(path) for s in spellings)
    ]


@dataclass(frozen=True)
class Planted:
    """What `plant` left: a folder, and with PostgreSQL the name of a database."""

    folder: Path
    database: str
    store_id: str


@pytest.fixture(scope="module")
def planting(
    request: pytest.FixtureRequest, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Planted]:
    """Plants once for each kind of database. Whoever wants what is there takes a copy: to plant takes seconds."""

    @cache
    def planted(kind: str) -> Planted:
        folder = tmp_path_factory.mktemp("planted")
        if kind == "postgresql":
            url = migrated.postgres_of(request.getfixturevalue("postgres"))
        else:
            url = migrated.sqlite_at(f"sqlite:///{folder}/headrace.db")

        async def run() -> str:
            made = Stack(Store(database=url, data=str(folder)), embedder)
            async with made.database:
                return await plant(made)

        with ThreadPoolExecutor(1) as elsewhere:  # this thread's event loop may be a test's
            return Planted(folder, url.rpartition("/")[2], elsewhere.submit(asyncio.run, run()).result())

    return planted


@pytest.fixture
def planted(stack: Stack, planting: Callable[[str], Planted]) -> str:
    """The id of a store that all share, in a stack in which everybody has planted."""
    return planting("sqlite" if stack.database.is_sqlite else "postgresql").store_id


@pytest.fixture(params=["sqlite", "postgresql"])
async def stack(
    request: pytest.FixtureRequest, tmp_path: Path, embedder: Embedder, planting: Callable[[str], Planted]
) -> AsyncIterator[Stack]:
    there = planting(request.param) if "planted" in request.fixturenames else None
    if there is not None:
        shutil.copytree(there.folder, tmp_path, dirs_exist_ok=True)
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.database(there.database) if there is not None else migrated.postgres_of(server)
    else:
        url = f"sqlite:///{tmp_path}/headrace.db"
        if there is None:
            migrated.sqlite_at(url)
    made = Stack(Store(database=url, data=str(tmp_path)), embedder)
    async with made.database:
        yield made


async def plant(stack: Stack) -> str:
    store = await stack.vector_stores.create(BOB, name="shared")
    for who in (ALICE, BOB):
        await stack.plant(who, store.id)
    other = await stack.vector_stores.create(NAMESAKE, name="theirs")
    await stack.plant(NAMESAKE, other.id)
    return store.id


def of(rows: dict[str, list[dict[str, Any]]], mark: str, tenant: str) -> dict[str, int]:
    found = {name: sum(mark in str(r) and r.get("tenant") == tenant for r in of) for name, of in rows.items()}
    return {name: count for name, count in found.items() if count}


IN_THE_BACKGROUND = {RESPOND, BATCH, DELIVER}


async def test_every_kind_of_job_has_its_gauge(stack: Stack) -> None:
    assert {*stack.ingestion.handlers, *stack.erasures.handlers} | {REMEMBER, *IN_THE_BACKGROUND} == KINDS


async def test_nothing_of_a_forgotten_user_is_left(stack: Stack, planted: str, tmp_path: Path):
    before = await stack.rows()
    found = of(before, ALICE.user, "acme")
    assert len(found) >= 12, found  # every table that can hold something of a user does
    files = {p.name: p.read_bytes() for p in (tmp_path / "files" / "acme").iterdir()}
    job = await stack.erase()
    assert (job.status, job.error_message) == ("succeeded", None)
    after = await stack.rows()
    assert of(after, ALICE.user, "acme") == {}
    left = {p.name: p.read_bytes() for p in (tmp_path / "files" / "acme").iterdir()}
    assert list(left.values()) == [content for content in files.values() if BOB.user.encode() in content]
    assert [row["file_name"] for row in stack.chunks(planted)] == [f"{BOB.user}.md"]
    # Others have what they had.
    gone = shared_by(before, ALICE)  # with a list that names others
    for name, rows in before.items():
        rows = [row for row in rows if row.get("vector_store_id") not in gone]
        if name not in ("jobs", "audit", "meta", "vector_stores", "assistants"):
            others = [row for row in rows if BOB.user in str(row) or row.get("tenant") == "other"]
            kept = [unlisted(row) for row in after[name]]
            assert [row for row in others if unlisted(row) not in kept] == [], name
    # Nor do the indexes' lists know the name any more.
    digests = {id: {row["access"] for row in stack.chunks(id)} for id in shared_by(after, BOB)}
    assert len(digests) == 2
    assert not [id for id, lists in digests.items() if any(digest(ALICE) in each for each in lists)]
    assert all(digest(BOB) in each for lists in digests.values() for each in lists)
    # What was used stays on the tenant's bill.
    assert {(row["user"], row["key_id"], row["cost"]) for row in after["usage"] if row["tenant"] == "acme"} == {
        (ERASED, "erased", 4),
        *((row["user"], row["key_id"], 4) for row in before["usage"] if row["user"] == BOB.user),
    }
    assert len(after["quota_windows"]) == len(before["quota_windows"]) - 2
    assert of(after, NAMESAKE.user, "other") == of(before, NAMESAKE.user, "other")
    # It is on record, without the name.
    events = (await stack.audit.page("acme")).items
    assert [(e["action"], e["target"], e["detail"]["conversations"]) for e in events] == [("user.erase", job.id, 1)]
    assert events[0]["subject"] == job.payload["subject"]
    assert (await stack.audit.verify("acme")).problems == []
    assert (await stack.audit.page("acme", user=ALICE.user)).items == []


def unlisted(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what changes when a name leaves its list."""
    if row.get("access") is None:
        return row
    kept = [name for name in row["access"] if name != f"user:{ALICE.user}"]
    return {name: value for name, value in row.items() if name != "job_id"} | {"access": kept}


def digest(who: Principal) -> str:
    return access_digest(user_name(who.user))


def shared_by(rows: dict[str, list[dict[str, Any]]], who: Principal) -> list[str]:
    return [row["id"] for row in rows["vector_stores"] if row["user"] == who.user and row["access"] is not None]


async def test_no_byte_of_a_forgotten_user_is_left(tmp_path: Path, embedder: Embedder):
    stack = Stack(Store(database=f"sqlite:///{tmp_path}/headrace.db", data=str(tmp_path)), embedder)
    async with stack.database:
        store = await stack.vector_stores.create(BOB, name="shared")
        for who in (ALICE, BOB):
            await stack.plant(who, store.id)
        assert {"headrace.db-wal"} < set(holding(tmp_path, ALICE.user))
        bobs = set(holding(tmp_path, BOB.user))
        assert (await stack.erase()).status == "succeeded"
        assert holding(tmp_path, ALICE.user) == []
        assert {name for name in bobs if name.startswith("file-")} <= set(holding(tmp_path, BOB.user))
    assert holding(tmp_path, ALICE.user) == []


async def test_what_was_taken_out_of_an_index_before_leaves_no_byte(tmp_path: Path, embedder: Embedder):
    stack = Stack(Store(database=f"sqlite:///{tmp_path}/headrace.db", data=str(tmp_path)), embedder)

    @uninterrupted
    async def purges() -> int:
        async with stack.database.read() as connection:
            jobs = metadata.tables["jobs"]
            query = select(jobs.c.id).where(jobs.c.kind == PURGE_INDEX)
            return len((await connection.execute(query)).all())

    async with stack.database:
        store = await stack.vector_stores.create(BOB, name="shared")
        files = [await stack.file(who) for who in (BOB, ALICE, ALICE)]
        for file in files:
            await stack.vector_stores.attach(replace(ADMIN, user=BOB.user), store.id, file)
        await stack.work()
        await stack.vector_stores.detach(BOB, store.id, files[1])
        await stack.files.delete(ALICE, files[2])
        await stack.work()
        await stack.jobs.prune(-1)  # nobody knows any more what was there
        assert holding(tmp_path / "collections", ALICE.user)
        assert (await stack.erase()).status == "succeeded"
        assert holding(tmp_path, ALICE.user) == []
        assert [row["file_name"] for row in stack.chunks(store.id)] == [f"{BOB.user}.md"]
        # What nobody touched since is not written anew for the next one, and what somebody did is.
        assert await purges() == 1
        await stack.erase("nobody")
        assert await purges() == 1
        await stack.vector_stores.detach(BOB, store.id, files[0])
        await stack.erase("nobody")
        assert await purges() == 2
        assert holding(tmp_path / "collections", BOB.user) == []


@pytest.mark.usefixtures("planted")
async def test_exports_are_rewritten_or_hold_the_erasure_up(stack: Stack, tmp_path: Path):
    made, moved = tmp_path / "exports" / "made", tmp_path / "exports" / "moved"
    for folder in (made, moved):
        order = Order("trl-prompt-only", Filters(tenant="acme"), parse("train=1"))
        await write(stack.database, order, folder, None)
    moved.rename(tmp_path / "exports" / "elsewhere")
    assert holding(made, ALICE.user)
    bobs = (made / "train.jsonl").read_bytes().count(BOB.user.encode())
    subject = await stack.audit.pseudonym("acme", ALICE.user)
    job = await stack.erasures.request(ADMIN, ALICE.user, subject, dry_run=False)
    if stack.database.is_sqlite:
        await stack.work()
    else:
        await until_held_up(stack, job)
        assert "forget-export" in str((await stack.jobs.get(ADMIN, job.id)).error_message)
        (tmp_path / "exports" / "elsewhere").rename(moved)
        await stack.work()
        assert holding(moved, ALICE.user) == []
    assert (await stack.jobs.get(ADMIN, job.id)).status == "succeeded"
    assert holding(made, ALICE.user) == []
    assert (made / "train.jsonl").read_bytes().count(BOB.user.encode()) == bobs > 0
    assert await Register(stack.database).holding("acme", ALICE.user) == []
    assert len(await Register(stack.database).holding("acme", BOB.user)) == 2


async def until_held_up(stack: Stack, job: Job) -> None:
    worker = Worker(stack.jobs, stack.erasures.handlers, poll_s=0.01)
    running = asyncio.create_task(worker.run())
    while not (await stack.jobs.get(ADMIN, job.id)).error_message:
        await asyncio.sleep(0.01)
    worker.stop()
    await running


@pytest.mark.usefixtures("planted")
async def test_a_dry_run_counts_and_changes_nothing(stack: Stack):
    before = await stack.rows()
    job = await stack.erase(dry_run=True)
    after = await stack.rows()
    for rows in (before, after):  # that a job ran, and whose turn it was
        rows |= {"jobs": [], "meta": [row for row in rows["meta"] if not row["key"].startswith("turn/")]}
    assert after == before
    counts = (job.result or {})["counts"]
    assert counts | {"jobs": 0} == {
        "users": 1,
        "sessions": 1,
        "batches": 1,
        "files": 1,
        "vector_stores": 2,
        "assistants": 1,
        "conversation_items": 1,
        "conversation_summaries": 1,
        "responses": 1,
        "conversations": 1,
        "captures": 3,
        "feedback": 1,
        "memories": 1,
        "turn_vectors": 1,
        "idempotency_keys": 1,
        "keys": 1,
        "quotas": 2,
        "usage": 1,
        "jobs": 0,
        "access_lists": 8,
        "exports": 0,
    }
    job = await stack.erase()
    assert (job.result or {})["counts"] == counts | {"jobs": counts["jobs"] + 1}  # the dry run names the user too
    assert "zqxalice" not in str([row for row in (await stack.rows())["jobs"] if row["tenant"] == "acme"])


async def test_nobody_is_erased_once(stack: Stack):
    job = await stack.erase("nobody")
    assert job.status == "succeeded"
    assert set((job.result or {})["counts"].values()) == {0}
    assert (await stack.erase("nobody")).id != job.id


async def test_an_admin_can_be_forgotten_by_oneself(stack: Stack):
    await stack.tenants.create("acme")
    for user in (ADMIN.user, "second"):
        await stack.users.create(ADMIN, user, role="admin")
    await Memories(stack.database).add(ADMIN, "a", "is the root")
    job = await stack.erase(ADMIN.user)
    assert job.status == "succeeded"
    assert of(await stack.rows(), "root", "acme") == {}


async def test_whoever_is_needed_cannot_be_forgotten(stack: Stack):
    await stack.tenants.create("acme")
    await stack.users.create(ADMIN, ADMIN.user, role="admin")
    await Memories(stack.database).add(ADMIN, "a", "is the root")
    with pytest.raises(Conflict, match="last admin"):
        await stack.erase(ADMIN.user)
    stacks = Principal(tenant="default", user="admin", key_id="key_s", scopes=SCOPES_OF["admin"], role="admin")
    await stack.users.create(stacks, "second", role="admin")
    with pytest.raises(Conflict, match="the stack's own key"):
        await stack.erasures.request(stacks, stacks.user, "", dry_run=False)
    with pytest.raises(InvalidValue):
        await stack.erase(ERASED)
    assert (await stack.erase(ADMIN.user, dry_run=True)).status == "succeeded"
    # One that was not the last when it was asked for.
    await stack.users.create(ADMIN, "second", role="admin")
    job = await stack.erasures.request(ADMIN, ADMIN.user, "", dry_run=False)
    await stack.users.update(ADMIN, "second", role="user")
    worker = Worker(stack.jobs, stack.erasures.handlers, poll_s=0.01)
    running = asyncio.create_task(worker.run())
    while not (await stack.jobs.get(ADMIN, job.id)).error_message:
        await asyncio.sleep(0.01)
    worker.stop()
    await running
    assert of(await stack.rows(), "is the root", "acme") == {"memories": 1}


async def test_what_a_user_left_to_be_done_is_done(stack: Stack):
    file = await stack.file(BOB)
    store = await stack.vector_stores.create(BOB, name="shared")
    await stack.vector_stores.attach(replace(ALICE, role="admin", scopes=SCOPES_OF["admin"]), store.id, file)
    assert (await stack.erase()).status == "succeeded"
    assert (await stack.vector_stores.get_any_file("acme", store.id, file)).status == "completed"
    assert of(await stack.rows(), ALICE.user, "acme") == {}


def test_it_is_decided_of_every_table_what_an_erasure_does():
    cascading = {
        *("conversation_items", "conversation_summaries", "idempotency_answers", "vector_store_files"),
        *("assistant_versions", "batch_lines"),
    }
    removed = (
        {table.name for table in belongings.CLASSES.values()}
        | cascading
        | {"quota_windows", "quota_streams", "audit_pseudonyms", "exports"}
    )
    nobodys = {"meta", "tenants", "audit", "used_approvals", "webhooks"}
    assert removed | nobodys == set(metadata.tables)
    assert not removed & nobodys
    owned = {name for name, table in metadata.tables.items() if {"user", "access"} & set(table.columns.keys())}
    assert owned <= removed


async def test_erasures_are_a_tenants_own(stack: Stack):
    job = await stack.erase()
    assert [j.id for j in (await stack.erasures.list(ADMIN)).items] == [job.id]
    assert (await stack.erasures.list(NAMESAKE)).items == []
    with pytest.raises(NotFound):
        await stack.erasures.get(NAMESAKE, job.id)


_WORK = """
import asyncio, os, signal, sys
from serving.config import Store
from serving.retrieval.embed import Embedder
from tests.contract.retrieval.test_erasure import Stack

async def run(url, folder, step):
    stack = Stack(Store(database=url, data=folder), Embedder())
    steps = 0
    inner = stack.erasures._removal._some_rows
    async def die(*given):
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return await inner(*given)
    stack.erasures._removal._some_rows = die
    if step == 0:
        stack.database.rewrite = lambda: os.kill(os.getpid(), signal.SIGKILL)
    await stack.database.start()
    await stack.work()

asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    ("stack", "step", "killed"),
    [
        ("sqlite", 0, COMPACT),
        ("postgresql", 0, COMPACT),
        ("postgresql", 3, ERASE),
        pytest.param("sqlite", 3, ERASE, marks=pytest.mark.soak),
    ],
    indirect=["stack"],
)
async def test_an_erasure_goes_on_after_kill_9(stack: Stack, tmp_path: Path, step: int, killed: str):
    subject = await stack.audit.pseudonym("acme", ALICE.user)
    job = await stack.erasures.request(ADMIN, ALICE.user, subject, dry_run=False)
    root = str(Path(serving.__file__).parents[1])
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _WORK, stack.store.database, str(tmp_path), str(step)],
        env=os.environ | {"PYTHONPATH": root},
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL
    assert [kind for kind, status in await stack.jobs.unfinished() if status == "running"] == [killed]
    await expire(stack)
    await stack.work()
    assert (await stack.jobs.get(ADMIN, job.id)).status == "succeeded"
    assert of(await stack.rows(), ALICE.user, "acme") == {}
    assert len((await stack.audit.page("acme")).items) == 1


@uninterrupted
async def expire(stack: Stack) -> None:
    """What time does to the lease of a process that died."""
    jobs = metadata.tables["jobs"]
    async with stack.database.write() as connection:
        await connection.execute(jobs.update().where(jobs.c.status == "running").values(lease_until=0))


async def test_what_comes_while_keys_are_still_known_goes_too(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
):
    moment = 0.0
    monkeypatch.setattr(erasure, "now", lambda: moment)
    stack = Stack(Store(database=f"sqlite:///{tmp_path}/headrace.db", data=str(tmp_path)), embedder, settle_s=0.01)
    async with stack.database:
        subject = await stack.audit.pseudonym("acme", ALICE.user)
        job = await stack.erasures.request(ADMIN, ALICE.user, subject, dry_run=False)
        working = asyncio.create_task(stack.work())
        while (await stack.jobs.get(ADMIN, job.id)).run_after == job.run_after:
            await asyncio.sleep(0.01)
        await Memories(stack.database).add(ALICE, "a", "came late")
        moment = float("inf")
        await working
        ended = await stack.jobs.get(ADMIN, job.id)
        assert (ended.status, ended.attempts) == ("succeeded", 1)
        assert of(await stack.rows(), ALICE.user, "acme") == {}
