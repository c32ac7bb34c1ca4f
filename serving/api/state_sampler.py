"""Samples metrics of state that no request measures: queues, indexes, disk, backups and budgets."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from serving.assistants.memory.jobs import REMEMBER
from serving.config import Catalog, RayServeModel, Store
from serving.core.ids import now
from serving.core.principal import STACK
from serving.hub.evaluations import EVALUATE
from serving.metering.keeper import Keeper
from serving.metering.spending import Spending
from serving.store.background.batches import BATCH
from serving.store.background.responses import RESPOND
from serving.store.background.webhooks import DELIVER
from serving.store.errors import StoreUnavailable
from serving.store.files import DELETE_BLOB
from serving.store.jobs.job import COMPACT, ERASE
from serving.store.upkeep.condition import Condition
from serving.store.users import ADMIN
from serving.store.vector_store import DROP_INDEX, DROP_RETIRED, INGEST, OPTIMIZE, PURGE_INDEX, REINDEX, UNINDEX
from serving.telemetry import metrics

log = logging.getLogger("headrace.api")

PERIOD_S = 30.0
"""Sampling interval of each gateway; all gateways report the same values."""

KINDS = frozenset(
    {BATCH, COMPACT, DELETE_BLOB, DELIVER, DROP_INDEX, DROP_RETIRED, ERASE, EVALUATE, INGEST, OPTIMIZE, PURGE_INDEX}
    | {REINDEX, REMEMBER, RESPOND, UNINDEX}
)
"""Reported for all kinds of jobs: an empty queue is 0 from the start, since a queue that is always short would have no
series.
"""


class Sampler:
    """Sets the gauges of shared state. A failing part is logged once, until it succeeds again."""

    def __init__(self, store: Store, condition: Condition, keeper: Keeper, spending: Spending) -> None:
        self._store = store
        self._condition = condition
        self._keeper = keeper
        self._spending = spending
        self._spent: set[tuple[str, str]] = set()
        self._collections: frozenset[str] = frozenset()
        self._indexed: set[str] = set()
        self._kinds = set(KINDS)
        self._budgets: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {}
        self._models: set[str] = set()
        self._prices: set[tuple[str, str]] = set()
        self._failed: set[str] = set()

    def configure(self, catalog: Catalog) -> None:
        """Takes a new catalogue, and reports the expected engines and their prices."""
        read = {name for assistant in catalog.assistants for name in assistant.knowledge}
        self._collections = frozenset(read | {each.name for each in catalog.collections or ()})
        hosted = [model for model in catalog.models if isinstance(model, RayServeModel)]
        expected = {m.name: m.replicas if m.autoscaling is None else m.autoscaling.min_replicas for m in hosted}
        for name in self._models | expected.keys():  # a series cannot be removed: deleted models become 0
            metrics.engine_expected.labels(name).set(expected.get(name, 0))
        prices = {
            (m.name, m.price.currency): float(m.price.per_hour)
            for m in hosted
            if m.price is not None and m.price.per_hour is not None
        }
        for key in self._prices | prices.keys():
            metrics.engine_price.labels(*key).set(prices.get(key, 0))
        self._models |= expected.keys()
        self._prices |= prices.keys()

    async def run(self) -> None:
        """Samples every `PERIOD_S` until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Samples everything once."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "jobs": self._look_at_jobs,
            "batches": self._look_at_batches,
            "indexes": self._look_at_indexes,
            "disk": self._look_at_disk,
            "backups": self._look_at_backups,
            "budgets": self._look_at_budgets,
            "spending": self._look_at_spending,
        }
        for name, part in parts.items():
            try:
                await part()
                self._failed.discard(name)
            except Exception as e:
                if name not in self._failed:
                    self._failed.add(name)
                    known = isinstance(e, StoreUnavailable | OSError)
                    log.warning("metrics of %s are not up to date: %s", name, e, exc_info=not known)

    async def _look_at_jobs(self) -> None:
        waiting = await self._condition.waiting()
        self._kinds |= waiting.keys()
        for kind in self._kinds:
            found = waiting.get(kind)
            metrics.jobs_waiting.labels(kind).set(found.number if found is not None else 0)
            metrics.job_oldest_seconds.labels(kind).set(found.oldest_s if found is not None else 0)

    async def _look_at_batches(self) -> None:
        lines, oldest_s = await self._condition.batches()
        metrics.batch_lines_waiting.set(lines)
        metrics.batch_oldest_seconds.set(oldest_s)

    async def _look_at_indexes(self) -> None:
        if not self._collections and not self._indexed:
            return
        at = now()
        checked = await self._condition.checked(STACK, ADMIN, self._collections)
        self._indexed |= checked.keys()
        for name in self._indexed:  # deleted ones become 0
            metrics.index_age_seconds.labels(name).set(max(at - checked.get(name, at), 0))

    async def _look_at_disk(self) -> None:
        folder = Path(self._store.data)
        if self._store.in_bucket or not folder.exists():
            return
        usage = await asyncio.to_thread(shutil.disk_usage, folder)
        metrics.disk_size_bytes().set(usage.total)
        metrics.disk_free_bytes().set(usage.free)

    async def _look_at_backups(self) -> None:
        if (newest := await self._condition.backed_up()) is not None:
            metrics.backup_age_seconds().set(max(now() - newest, 0))

    async def _look_at_spending(self) -> None:
        spent = await self._spending.month_to_date()
        for labels in self._spent | spent.keys():  # a month begins at 0
            metrics.month_cost.labels(*labels).set(spent.get(labels, 0))
        self._spent |= spent.keys()

    async def _look_at_budgets(self) -> None:
        at = now()
        for share in self._keeper.budgets():
            quota = share.quota
            seen = self._budgets.setdefault((quota.tenant, quota.measure, quota.window), {})
            seen[f"{quota.id} {share.start}"] = (share.use, share.end)
        for labels, seen in self._budgets.items():
            for key in [key for key, (_, end) in seen.items() if end <= at]:
                del seen[key]
            metrics.quota_used.labels(*labels).set(max((use for use, _ in seen.values()), default=0))
