"""What documents store and embed is held to their tenant's quotas, before it is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from serving.config import DEFAULT_EMBEDDER, Catalog, Measure, Price, QuotaLimit, Window
from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.quotas.quota import quota
from serving.quotas.windows import day
from serving.retrieval.replica import RetrievalReplica
from serving.store.quotas import QuotaStore
from serving.store.usage import Usage, UsageOf
from serving.store.vector_stores import VectorStoreFile
from tests.contract.retrieval.test_fair_ingestion import attach
from tests.contract.retrieval.test_reindex import hashed, running, settled

__all__ = ["hashed"]

ALICE = Principal(tenant="acme", user="alice", key_id="key_a")
PLATFORM = Principal(tenant="acme", user="admin", key_id="key_p", scopes=frozenset(("platform",)))
TEXT = b"Everything that is known about the heron stands here, and in no other place.\n\n" * 40
EXPANDS = f"{'c' * 100},{'d' * 100}\n".encode() + b"1,2\n" * 457


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[RetrievalReplica]:
    async with running(tmp_path) as replica:
        yield replica


async def limit(replica: RetrievalReplica, measure: Measure, most: int, window: Window = "total") -> None:
    currency = "USD" if measure == "money" else None
    given = QuotaLimit(window=window, measure=measure, limit=Decimal(most), currency=currency)
    await QuotaStore(replica._database).put(PLATFORM, [quota("acme", "tenant", "acme", given)])


async def stored(replica: RetrievalReplica) -> int:
    given = quota("acme", "tenant", "acme", QuotaLimit(window="total", measure="stored_bytes", limit=Decimal(0)))
    return (await QuotaStore(replica._database).stored_bytes([given]))[given.id].used


async def ingested(replica: RetrievalReplica, store: str, *files: tuple[str, bytes]) -> list[VectorStoreFile]:
    ids = [await attach(replica, ALICE, store, name, text) for name, text in files]
    await settled(replica)
    return [await replica._stores.get_file(ALICE, store, id) for id in ids]


@uninterrupted
async def relist(replica: RetrievalReplica, store: str, file: str) -> None:
    async with replica._database.write() as connection:
        await replica._stores.relist(ALICE, store, file, ["user:alice"], connection)


async def usage(replica: RetrievalReplica, by: str = "model") -> list[UsageOf]:
    await replica._quotas._keeper.tell()
    today = day(now())
    found = await Usage(replica._database).list_usage(ALICE, by=by, first_day=today, last_day=today)  # type: ignore[arg-type]
    return list(found.items)


def spent(file: VectorStoreFile, of: str = "stored bytes in all") -> bool:
    assert of in (file.error_message or "")
    return (file.status, file.error_code, file.usage_bytes) == ("failed", "insufficient_quota", 0)


async def test_text_that_passes_a_quota_is_refused_while_it_is_read(
    replica: RetrievalReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await limit(replica, "stored_bytes", 20_000)
    monkeypatch.setattr(replica._quotas, "store", None)  # what is asked once the whole text is there
    store = (await replica._stores.create(ALICE)).id
    [file] = await ingested(replica, store, ("a.csv", EXPANDS))
    assert len(EXPANDS) == 2_030
    assert spent(file)
    assert await stored(replica) == len(EXPANDS)
    assert await replica.search(ALICE, store, "c", 3) == []


async def test_vectors_count_before_they_are_stored(replica: RetrievalReplica) -> None:
    store = (await replica._stores.create(ALICE)).id
    [whole] = await ingested(replica, store, ("a.txt", TEXT))
    assert (whole.status, await stored(replica)) == ("completed", len(TEXT) + whole.usage_bytes)
    assert whole.usage_bytes > len(TEXT) + 4 * 384
    before = await stored(replica)
    await limit(replica, "stored_bytes", before + len(TEXT) + whole.usage_bytes - 1)
    [file] = await ingested(replica, store, ("b.txt", TEXT))
    assert spent(file)
    assert await stored(replica) == before + len(TEXT)
    await limit(replica, "stored_bytes", before + 2 * len(TEXT) + whole.usage_bytes)
    [file] = await ingested(replica, store, ("b.txt", TEXT))
    assert (file.status, file.usage_bytes) == ("completed", whole.usage_bytes)


async def test_files_that_are_ingested_at_once_pass_no_quota_together(replica: RetrievalReplica) -> None:
    store = (await replica._stores.create(ALICE)).id
    [one] = await ingested(replica, store, ("a.txt", TEXT))
    most = await stored(replica) + 6 * len(TEXT) + 3 * one.usage_bytes
    await limit(replica, "stored_bytes", most)
    found = await ingested(replica, store, *((f"{n}.txt", TEXT) for n in range(6)))
    assert 1 <= sum(file.status == "completed" for file in found) <= 3
    assert all(file.status == "completed" or spent(file) for file in found)
    assert await stored(replica) <= most


async def test_nothing_stays_of_a_file_that_outgrows_a_quota(replica: RetrievalReplica) -> None:
    store = (await replica._stores.create(ALICE)).id
    [file] = await ingested(replica, store, ("a.txt", TEXT))
    assert await replica.search(ALICE, store, "heron", 3)
    await limit(replica, "stored_bytes", await stored(replica) - 1)
    await replica._stores.attach(ALICE, store, file.file_id, attributes={"a": "b"})
    await settled(replica)
    assert spent(await replica._stores.get_file(ALICE, store, file.file_id))
    assert await replica.search(ALICE, store, "heron", 3) == []
    assert await stored(replica) == len(TEXT)


async def test_embedding_is_charged_to_the_user_and_the_tenant(replica: RetrievalReplica) -> None:
    store = (await replica._stores.create(ALICE)).id
    await limit(replica, "tokens", 1_000_000, "day")
    [file] = await ingested(replica, store, ("a.txt", TEXT))
    assert file.status == "completed"
    [of] = await usage(replica)
    # Each of the 40 sentences has 15 tokens; chunks overlap, and each begins with the title.
    assert (of.id, of.requests, of.completion_tokens) == (DEFAULT_EMBEDDER, 0, 0)
    assert 40 * 15 < of.prompt_tokens < 2 * 40 * 15
    assert [each.id for each in await usage(replica, "key")] == ["background"]
    await limit(replica, "tokens", 2 * of.prompt_tokens - 1, "day")
    [file] = await ingested(replica, store, ("b.txt", TEXT))
    assert spent(file, "tokens per day")
    assert (await usage(replica))[0].prompt_tokens == of.prompt_tokens
    await limit(replica, "tokens", 2 * of.prompt_tokens, "day")
    [file] = await ingested(replica, store, ("b.txt", TEXT))
    assert file.status == "completed"
    assert (await usage(replica))[0].prompt_tokens == 2 * of.prompt_tokens
    await relist(replica, store, file.file_id)  # the stack's own work, during an erasure
    await settled(replica)
    found = await replica._stores.get_file(ALICE, store, file.file_id)
    assert (found.status, found.access) == ("completed", ["user:alice"])
    assert (await usage(replica))[0].prompt_tokens == 2 * of.prompt_tokens


async def test_the_price_of_an_embedder_is_charged(tmp_path: Path, hashed: tuple[object, Catalog]) -> None:
    _, catalog = hashed
    [model] = catalog.models
    priced = model.model_copy(update={"price": Price(input=Decimal(1_000), output=Decimal(0), currency="USD")})
    async with running(tmp_path, catalog.model_copy(update={"models": (priced,)})) as replica:
        store = (await replica._stores.create(ALICE)).id
        [file] = await ingested(replica, store, ("a.txt", TEXT))
        assert file.status == "completed"
        [of] = await usage(replica)
        assert of.cost == {"USD": of.prompt_tokens * 1_000_000}
        await limit(replica, "money", 0, "day")
        [file] = await ingested(replica, store, ("b.txt", TEXT))
        assert spent(file, "money in USD per day")
