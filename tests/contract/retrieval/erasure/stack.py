"""A stack's stores with a retrieval worker, in which a user's data is planted and looked for."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import lancedb
from sqlalchemy import select

from serving.assistants.register import AssistantRegister
from serving.config import Limits, Managed, QuotaLimit, Quotas, Store
from serving.core.ids import new_id
from serving.core.principal import SCOPES_OF, Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import Datasets
from serving.hub.evaluation.answers import Answer
from serving.hub.evaluation.scoring import Score
from serving.hub.evaluations import Evaluations
from serving.hub.forgetting import Forgetting
from serving.hub.live import Live
from serving.hub.releases import Releases
from serving.hub.suites import Suites
from serving.hub.versions import Versions
from serving.metering.documents import DocumentQuotas
from serving.protocol.assistants import AssistantSettings
from serving.protocol.suites import Suite
from serving.quotas.quota import quota
from serving.quotas.share import Want
from serving.retrieval.embedders.registry import EmbedderRegistry
from serving.retrieval.indexes import VectorStoreIndexes
from serving.retrieval.ingest import Ingestion
from serving.security.audit import AuditLog
from serving.security.erasure import Erasures
from serving.store.access import Access
from serving.store.apps.checkpoints import Checkpoint, Checkpoints, Thread
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import Conflict
from serving.store.feedback import Rating, Ratings
from serving.store.files import Files
from serving.store.idempotency import IdempotencyKeys, KeptAnswer, claim_of
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import Worker
from serving.store.keys import Keys
from serving.store.memories import Memories
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.objects.live_adapters import LiveSets
from serving.store.prompts.prompts import Prompts
from serving.store.quotas import QuotaStore
from serving.store.relational.database import Database
from serving.store.relational.tables import batch_lines, batches, metadata
from serving.store.responses import NewResponse
from serving.store.sessions import Sessions
from serving.store.sharing.shares import Shares
from serving.store.summaries import Summaries
from serving.store.tenants import Tenants
from serving.store.turn_vectors import TurnVectors
from serving.store.upkeep.indexes import Indexes
from serving.store.usage import Usage, Used, Whose
from serving.store.users import Users
from serving.store.vector_stores import VectorStores
from tests.store.captures import capture

ADMIN = Principal(tenant="acme", user="root", key_id="key_r", scopes=SCOPES_OF["admin"], role="admin")
ALICE = Principal(tenant="acme", user="zqxalice", key_id="key_a")
BOB = Principal(tenant="acme", user="wvybob", key_id="key_b")
NAMESAKE = Principal(tenant="other", user="zqxalice", key_id="key_n")


class Stack:
    """The stores, and the worker of a retrieval replica."""

    def __init__(self, store: Store, embedders: EmbedderRegistry, *, settle_s: float = 0) -> None:
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
        hub = data.place(store, data.HUB)
        self.artefacts = Artefacts(hub)
        self.audit = AuditLog(self.database, "s" * 40)
        self.erasures = Erasures(
            self.database,
            self.jobs,
            self.files,
            self.vector_stores,
            self.audit.key,
            also=(Forgetting(self.database, self.artefacts, Live(self.database, LiveSets(hub))).forget,),
            settle_s=settle_s,
            wait_s=0.2,
        )
        where = data.collections(store)
        indexes = VectorStoreIndexes(where, Indexes(self.database), embedders)
        self.ingestion = Ingestion(
            indexes,
            self.files,
            self.vector_stores,
            self.blobs,
            self.jobs,
            Limits(),
            DocumentQuotas(self.database, Quotas()),
            embedders.judge.count_tokens,
        )

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
        shares = Shares(self.database)
        await shares.create(who, talk.id, await shares.sources(who, talk.id), expires_in_s=9e6)
        await Summaries(self.database).put(who, None, added, mark)
        await Memories(self.database).add(who, "a", mark)
        settings = AssistantSettings(model="m", instructions=mark)
        shared = Access(users=("zqxalice", "wvybob"))
        await AssistantRegister(self.database, 9).create(who, who.user, settings, shared)
        prompts = Prompts(self.database)
        own = await prompts.create(who, f"of-{who.user}", mark, mark, [])
        await prompts.set_label(who, own.id, "production", 1)
        admin = replace(who, role="admin", scopes=SCOPES_OF["admin"])
        others = await prompts.create(replace(who, user="somebody"), f"others-{who.user[:1]}", "", "x", [])
        await prompts.add_version(admin, others.id, "Not about anybody.", [])
        vectors = TurnVectors(self.database)
        [turn] = await vectors.waiting(who, talk.id, "e", keep=1, limit=1)
        await vectors.put(who, talk.id, "a", "e", {turn: "AP/+"}, keep=1)
        state = "json", base64.b64encode(mark.encode()).decode()
        thread = Thread("app", talk.id, talk.id)
        await Checkpoints(self.database).put(who, thread, "", Checkpoint("1", None, state, state))
        await Checkpoints(self.database).put_writes(who, thread, "", "1", "task", [(0, "messages", state)])
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
        await self.plant_version(who, mark)
        await self.plant_evaluation(who, mark)
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

    async def plant_version(self, who: Principal, mark: str) -> None:
        """One trained on a data set with the user's name."""
        datasets, versions = Datasets(self.database, self.artefacts), Versions(self.database, self.artefacts)
        rows = Path(self.store.data) / "rows"
        rows.write_text(mark)
        dataset = await datasets.begin(who, format="sft")
        await datasets.add(who, dataset.id, "train.jsonl", rows)
        frozen: dict[str, Any] = {"digest": "a" * 64, "manifest": {}, "counts": {}, "people": [who.user]}
        await datasets.finish(who, dataset.id, **frozen)
        trained: dict[str, Any] = {"kind": "adapter", "base": "m", "base_digest": "0" * 64, "method": "sft"}
        version = await versions.begin(who, name="v", dataset=dataset.id, **trained)
        await versions.add(who, version.id, "adapter.gguf", rows)
        await versions.finish(who, version.id)
        rows.unlink()

    async def plant_evaluation(self, who: Principal, mark: str) -> None:
        """One of the user's, with an answer that was given on the user's behalf, and a release."""
        prompts = [{"id": "p", "messages": "?", "checks": [{"kind": "length", "max_characters": 1}]}]
        versions = Versions(self.database, self.artefacts)
        suites, evaluations = Suites(self.database), Evaluations(self.database, self.jobs, versions)
        suite = await suites.create(who, Suite.model_validate({"name": "s", "prompts": prompts}))
        given: dict[str, Any] = {"against": None, "version": None, "caller": {"account": who.user}}
        evaluation = await evaluations.create(who, suite.id, "m", **given)
        await evaluations.keep(evaluation, Score(0, Answer(text=mark), None, False, None, None))
        await evaluations.cancel(who, evaluation.id)
        given = {"managed": Managed(base="m"), "share": 0.1, "evaluation": None, "usable": lambda model: True}
        await Releases(self.database).create(who, new_id("alias"), "other", **given)

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


async def until_failed(stack: Stack, job: Job) -> None:
    """Works on erasures until this one has failed once."""
    worker = Worker(stack.jobs, stack.erasures.handlers, poll_s=0.01)
    running = asyncio.create_task(worker.run())
    while not (await stack.jobs.get(ADMIN, job.id)).error_message:
        await asyncio.sleep(0.01)
    worker.stop()
    await running
