"""The gauges of shared state, over a real database and a real folder."""

from __future__ import annotations

import logging
import shutil

import pytest
from prometheus_client import REGISTRY

from serving.api.state_sampler import KINDS, Sampler
from serving.config import Assistant, Autoscaling, Catalog, LlamaCppModel, Price, QuotaLimit, Quotas, RemoteModel, Store
from serving.core.ids import now
from serving.core.managed import CHECKED_AT, MANAGED
from serving.core.principal import STACK, Principal
from serving.metering.keeper import Keeper
from serving.metering.spending import Spending
from serving.store.errors import StoreUnavailable
from serving.store.jobs.queue import Jobs
from serving.store.quotas import QuotaStore
from serving.store.relational.database import Database
from serving.store.upkeep.condition import Condition
from serving.store.usage import Usage
from serving.store.users import ADMIN
from serving.store.vector_stores import VectorStores

ALICE = Principal("acme", "alice", "key")
SMALL = LlamaCppModel(name="small", source="file:///m.gguf", replicas=3, price=Price(per_hour="2.5", currency="EUR"))


def value(name, **labels):
    return REGISTRY.get_sample_value(f"headrace_{name}", labels)


@pytest.fixture
async def database(tmp_path):
    async with Database(f"sqlite:///{tmp_path / 'h.db'}") as database:
        yield database


@pytest.fixture
def sampler(database, tmp_path):
    quotas = Quotas(tenant=(QuotaLimit(window="day", measure="tokens", limit=100),))
    keeper = Keeper(QuotaStore(database), Usage(database), quotas)
    store = Store(database=f"sqlite:///{tmp_path / 'h.db'}", data=str(tmp_path))
    made = Sampler(store, Condition(database), keeper, Spending(keeper._usage))
    made.keeper = keeper  # ty: ignore[missing-attribute]
    return made


async def test_empty_queues_are_reported_as_zero(sampler):
    await sampler.look()
    assert {value("jobs_waiting", kind=kind) for kind in KINDS} == {0}
    assert {value("job_oldest_seconds", kind=kind) for kind in KINDS} == {0}


async def test_waiting_jobs_and_free_space_are_reported(sampler, database, tmp_path):
    jobs = Jobs(database)
    await jobs.enqueue(ALICE, "sampled", {})
    await Condition(database).note_backup()
    await sampler.look()
    assert value("jobs_waiting", kind="sampled") == 1
    assert value("job_oldest_seconds", kind="sampled") > 0
    assert 0 <= value("backup_age_seconds") < 60
    assert value("disk_size_bytes") == shutil.disk_usage(tmp_path).total
    assert 0 < value("disk_free_bytes") < value("disk_size_bytes")
    await jobs.complete(await jobs.claim(["sampled"], "worker", 10))
    await sampler.look()
    assert value("jobs_waiting", kind="sampled") == value("job_oldest_seconds", kind="sampled") == 0


async def test_the_fullest_budget_of_a_tenant_is_shown_until_its_window_ends(sampler, monkeypatch):
    def used():
        return value("quota_used_ratio", tenant="acme", measure="tokens", window="day")

    keeper = sampler.keeper
    [quota] = keeper.quotas_for(ALICE, "m")
    [reservation] = await keeper.reserve([(quota, 40)])
    keeper.settle(reservation, 40)
    await keeper.tell(all=True)
    await sampler.look()
    assert used() == pytest.approx(0.4)
    monkeypatch.setattr("serving.api.state_sampler.now", lambda: keeper.share(quota).end + 1)
    monkeypatch.setattr(keeper, "budgets", list)  # the window is forgotten, as after a night
    await sampler.look()
    assert used() == 0


async def test_an_index_that_is_deleted_or_no_longer_configured_ages_no_more(sampler, database, monkeypatch):
    def ages():
        return {name: value("index_age_seconds", collection=name) for name in ("quiet", "deleted", "dropped")}

    def configure(*names):
        sampler.configure(Catalog(models=(SMALL,), assistants=(Assistant(name="a", model="small", knowledge=names),)))

    owner, at = Principal(STACK, ADMIN, "key"), int(now())
    stores = VectorStores(database, Jobs(database))
    made = {name: await stores.create(owner, name=name, metadata=MANAGED) for name in ages()}
    configure(*made)
    assert set(ages().values()) == {None}
    monkeypatch.setattr("serving.api.state_sampler.now", lambda: at + 1000)
    await sampler.look()
    assert all(940 <= age <= 1000 for age in ages().values())
    # A check that found nothing to do counts.
    await stores.update(owner, made["quiet"].id, metadata=MANAGED | {CHECKED_AT: str(at + 900)})
    await stores.delete(owner, made["deleted"].id)
    configure("quiet", "deleted")
    await sampler.look()
    assert ages() == {"quiet": 100, "deleted": 0, "dropped": 0}
    configure()
    await sampler.look()
    assert set(ages().values()) == {0}


def test_engines_are_expected_as_they_are_configured(sampler):
    scaled = SMALL.model_copy(update={"name": "scaled", "autoscaling": Autoscaling(min_replicas=0, max_replicas=4)})
    far = RemoteModel(name="far", url="http://127.0.0.1:9/v1")
    sampler.configure(Catalog(models=(SMALL, scaled, far)))
    assert value("engine_expected", model="small") == 3
    assert value("engine_expected", model="scaled") == 0
    assert value("engine_expected", model="far") is None
    assert value("engine_price", model="small", currency="EUR") == 2.5
    price = Price(input=1, output=1, per_hour=4, currency="USD")
    sampler.configure(Catalog(models=(SMALL.model_copy(update={"price": price, "replicas": 1}),)))
    assert value("engine_expected", model="small") == 1
    assert value("engine_price", model="small", currency="EUR") == 0
    assert value("engine_price", model="small", currency="USD") == 4


async def test_an_unreachable_store_is_logged_once(sampler, database, monkeypatch, caplog):
    async def away():
        raise StoreUnavailable("it is away")

    sampler.configure(Catalog(models=(SMALL,), assistants=(Assistant(name="a", model="small", knowledge=("docs",)),)))
    await Jobs(database).enqueue(ALICE, "behind", {})
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "headrace.api"):
        patch.setattr(sampler._condition, "backed_up", away)
        for _ in range(3):
            await sampler.look()
    assert [r.getMessage() for r in caplog.records] == ["metrics of backups are not up to date: it is away"]
    assert value("jobs_waiting", kind="behind") == 1


async def test_the_cost_of_a_month_is_shown_and_begins_again_at_zero(sampler, monkeypatch):
    spent = {("acme", "EUR"): 12.5}

    async def month_to_date():
        return spent

    monkeypatch.setattr(sampler._spending, "month_to_date", month_to_date)
    await sampler.look()
    assert value("month_to_date_cost", tenant="acme", currency="EUR") == 12.5
    spent.clear()
    await sampler.look()
    assert value("month_to_date_cost", tenant="acme", currency="EUR") == 0
