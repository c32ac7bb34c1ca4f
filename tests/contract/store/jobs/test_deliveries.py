"""Deliveries to webhooks that wait: how many a tenant and one receiver may have."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.background import webhooks as stored
from serving.store.background.webhooks import DELIVER, Webhooks, announce
from serving.store.jobs.queue import Job, Jobs
from serving.store.relational.database import Database
from serving.store.relational.tables import jobs as table
from serving.store.relational.tables import webhooks as hooks

OTHER = Principal("other", "u", "k")


@uninterrupted
async def events(database: Database, tenant: str, number: int) -> None:
    for n in range(number):
        await database.group_commit(lambda c, n=n: announce(c, tenant, "u", "batch.completed", f"batch_{n}"))


@uninterrupted
async def not_sent(database: Database, tenant: str) -> int:
    async with database.read() as connection:
        query = select(func.sum(hooks.c.not_sent)).where(hooks.c.tenant == tenant)
        return int((await connection.execute(query)).scalar_one())


@uninterrupted
async def counted(database: Database, tenant: str) -> Counter[tuple[str, str | None]]:
    query = select(table.c.status, table.c.error_code).where(table.c.tenant == tenant, table.c.kind == DELIVER)
    async with database.read() as connection:
        return Counter((row.status, row.error_code) for row in await connection.execute(query))


async def test_a_tenant_queues_a_limited_number_of_deliveries(
    database: Database, jobs: Jobs, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MAX_WAITING", 10)
    monkeypatch.setattr(stored, "MAX_WAITING_EACH", 6)
    webhooks = Webhooks(database)
    for principal in (alice, OTHER):
        for _ in range(2):
            await webhooks.create(principal, url="https://a.example", events=["batch.completed"], private=False)
    await events(database, alice.tenant, 20)
    assert await counted(database, alice.tenant) == {("queued", None): 10}
    assert await not_sent(database, alice.tenant) == 30
    await events(database, OTHER.tenant, 1)
    assert await counted(database, OTHER.tenant) == {("queued", None): 2}, "each tenant has its own"
    for _ in range(2):
        job = await jobs.claim([DELIVER], "gateway", 60)
        while job is not None and job.tenant != alice.tenant:
            job = await jobs.claim([DELIVER], "gateway", 60)
        assert isinstance(job, Job)
        await jobs.complete(job)
    await events(database, alice.tenant, 2)
    assert (await counted(database, alice.tenant))["queued", None] == 10, "what was sent makes room"


async def test_a_tenants_deliveries_take_no_room_of_the_platforms(
    database: Database, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MAX_WAITING", 4)
    webhooks = Webhooks(database)
    for _ in range(2):
        await webhooks.create(alice, url="https://a.example", events=["batch.completed"], private=False)
    await events(database, alice.tenant, 3)
    assert await counted(database, alice.tenant) == {("queued", None): 4}
    assert await not_sent(database, alice.tenant) == 2
    platform = replace(alice, scopes=frozenset(["platform"]))
    await webhooks.create(platform, url="https://p.example", events=["batch.completed"], private=False)
    await events(database, alice.tenant, 1)
    assert (await counted(database, alice.tenant))["queued", None] == 5


async def test_a_dead_receiver_leaves_room_for_the_tenants_others(
    database: Database, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MAX_WAITING_EACH", 3)
    webhooks = Webhooks(database)
    await webhooks.create(alice, url="https://a.example", events=["batch.completed"], private=False)
    await events(database, alice.tenant, 5)
    await webhooks.create(alice, url="https://b.example", events=["batch.completed"], private=False)
    await events(database, alice.tenant, 1)
    assert await counted(database, alice.tenant) == {("queued", None): 4}
    assert [each.not_sent for each in (await webhooks.list(alice, order="asc")).items] == [3, 0]
