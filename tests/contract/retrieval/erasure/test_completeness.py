"""An erasure leaves nothing of the user in any table, file, index or export, and keeps everything of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from serving.config import Store
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.retrieval.chunk_table import access_digest
from serving.retrieval.embedders.registry import EmbedderRegistry
from serving.store.access import user_name
from serving.store.relational import belongings
from serving.store.relational.tables import metadata
from serving.store.usage import ERASED
from serving.store.vector_stores import PURGE_INDEX
from tests.contract.retrieval.erasure.stack import ADMIN, ALICE, BOB, NAMESAKE, Stack, holding, of

pytestmark = pytest.mark.long


async def test_erasure_removes_all_rows_and_files_of_the_user(stack: Stack, planted: str, tmp_path: Path):
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
    # A version that the user added to another's prompt stays that one's, without its author.
    added = [row for row in before["prompt_versions"] if (row["user"], row["version"]) == (ALICE.user, 2)]
    added = [row | {"user": None} for row in added if row["tenant"] == "acme"]
    assert len(added) == 1
    assert [row for row in after["prompt_versions"] if row["user"] is None] == added
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


async def test_no_file_contains_the_users_name_after_an_erasure(tmp_path: Path, embedders: EmbedderRegistry):
    stack = Stack(Store(database=f"sqlite:///{tmp_path}/headrace.db", data=str(tmp_path)), embedders)
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


async def test_chunks_deleted_before_the_erasure_leave_no_bytes(tmp_path: Path, embedders: EmbedderRegistry):
    stack = Stack(Store(database=f"sqlite:///{tmp_path}/headrace.db", data=str(tmp_path)), embedders)

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


def test_every_table_is_covered_by_erasure():
    cascading = {
        *("conversation_items", "conversation_summaries", "idempotency_answers", "vector_store_files"),
        *("assistant_versions", "prompt_labels", "batch_lines", "file_batches", "file_batch_files"),
    }
    removed = (
        {table.name for table in belongings.CLASSES.values()}
        | cascading
        | {"quota_windows", "quota_streams", "audit_pseudonyms", "exports"}
        | {"hub_datasets", "hub_versions", "hub_parents", "hub_suites", "hub_evaluations", "hub_scores", "hub_releases"}
        | {"hub_consents"}
    )
    nobodys = {"meta", "tenants", "audit", "used_approvals", "webhooks"}
    assert removed | nobodys == set(metadata.tables)
    assert not removed & nobodys
    owned = {name for name, table in metadata.tables.items() if {"user", "access"} & set(table.columns.keys())}
    assert owned <= removed
