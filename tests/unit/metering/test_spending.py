"""What tenants have spent in this month, over a real database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from serving.core.uninterrupted import uninterrupted
from serving.metering.spending import BILLION, Spending
from serving.store.relational.database import Database
from serving.store.usage import Usage, Used, Whose, costs_between


def at(day, hour=12):
    return datetime.fromisoformat(f"{day}T{hour:02}:00:00").replace(tzinfo=UTC).timestamp()


class Clock:
    def __init__(self):
        self.now = at("2026-03-15")

    def __call__(self):
        return self.now


@pytest.fixture
async def database(tmp_path):
    async with Database(f"sqlite:///{tmp_path / 'h.db'}") as database:
        for tenant in ("acme", "other"):
            await execute(database, "INSERT INTO tenants (id, name, created_at) VALUES (?, ?, 0)", (tenant, tenant))
        yield database


@uninterrupted
async def execute(database, sql, parameters):
    async with database.write() as connection:
        await connection.exec_driver_sql(sql, parameters)


@pytest.fixture
def usage(database):
    return Usage(database)


async def spend(usage, day, cost, tenant="acme", currency="EUR", model="m"):
    await usage.add([(Whose(tenant, day, "ann", "key", model, currency), Used(1, 1, 1, int(cost * BILLION)))])


async def test_the_month_is_added_up_by_tenant_and_currency(usage):
    await spend(usage, "2026-02-28", 100)
    for day, cost in (("2026-03-01", 1), ("2026-03-13", 2), ("2026-03-14", 4), ("2026-03-15", 8.5)):
        await spend(usage, day, cost)
    await spend(usage, "2026-03-15", 16, currency="USD")
    await spend(usage, "2026-03-15", 32, tenant="other", model="n")
    await spend(usage, "2026-03-15", 0, currency="")
    found = await Spending(usage, clock=Clock()).month_to_date()
    assert found == {("acme", "EUR"): 15.5, ("acme", "USD"): 16, ("other", "EUR"): 32}


async def test_what_is_stored_later_counts_also_that_of_yesterday(usage):
    clock = Clock()
    spending = Spending(usage, clock=clock)
    for day in ("2026-03-02", "2026-03-14"):
        await spend(usage, day, 1)
    assert await spending.month_to_date() == {("acme", "EUR"): 2}
    await spend(usage, "2026-03-14", 1)
    await spend(usage, "2026-03-15", 1)
    assert await spending.month_to_date() == {("acme", "EUR"): 4}
    clock.now = at("2026-03-16", hour=0)
    await spend(usage, "2026-03-15", 1)
    assert await spending.month_to_date() == {("acme", "EUR"): 5}


@pytest.mark.parametrize(("day", "spent"), [("2026-03-01", {}), ("2026-03-31", {("acme", "EUR"): 3})])
async def test_a_month_begins_at_nothing(usage, day, spent):
    clock = Clock()
    spending = Spending(usage, clock=clock)
    await spend(usage, "2026-02-28", 7)
    await spend(usage, "2026-03-30", 3)
    clock.now = at(day)
    assert await spending.month_to_date() == spent
    clock.now = at("2026-04-01")
    await spend(usage, "2026-03-31", 9)
    assert await spending.month_to_date() == {}


class Asked(Usage):
    """Notes for which days it is asked."""

    def __init__(self, database):
        super().__init__(database)
        self.days = []

    async def cost_of_tenants(self, *, first_day, last_day):
        self.days.append((first_day, last_day))
        return await super().cost_of_tenants(first_day=first_day, last_day=last_day)


async def test_only_the_days_that_may_change_are_read_again(database):
    asked, clock = Asked(database), Clock()
    spending = Spending(asked, clock=clock)
    for day in ("2026-03-15", "2026-03-15", "2026-03-16"):
        clock.now = at(day)
        await spending.month_to_date()
    before = [("2026-03-01", "2026-03-13"), ("2026-03-01", "2026-03-14")]
    today = [("2026-03-14", "2026-03-15"), ("2026-03-15", "2026-03-16")]
    assert asked.days == [before[0], today[0], today[0], before[1], today[1]]


@uninterrupted
async def test_no_other_day_is_read(database):
    query = costs_between("2026-03-14", "2026-03-15").compile(compile_kwargs={"literal_binds": True})
    async with database.read() as connection:
        plan = str((await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")).all())
    assert "SEARCH usage" in plan, plan
    assert "(tenant=? AND day>? AND day<?)" in plan, plan
