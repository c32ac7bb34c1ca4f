"""Holds the documents of tenants to their quotas: what ingestion stores, and the tokens that it embeds."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from serving.config import Price, Quotas
from serving.metering.charge import BACKGROUND, Charge, quota_error
from serving.metering.cost import cost_of
from serving.metering.counters import count_cost, count_tokens
from serving.metering.keeper import Keeper
from serving.protocol.errors import ApiError
from serving.quotas.quota import Quota, QuotaExceeded
from serving.store.attachments.ingested_size import IngestedSizes
from serving.store.jobs.queue import Job
from serving.store.jobs.worker import PermanentError
from serving.store.quotas import QuotaStore
from serving.store.relational.database import Database
from serving.store.usage import Usage
from serving.store.vector_store import RELISTED

SPENT = "insufficient_quota"
"""Code of a file for which too little is left of a quota."""


class DocumentQuotas:
    """The quotas of documents, as they are in the store when a document is ingested.

    A document that is ingested again by the erasure of a user, with another access list alone, is held to none.
    """

    def __init__(self, database: Database, defaults: Quotas) -> None:
        self._keeper = Keeper(QuotaStore(database), Usage(database), defaults)
        self._sizes = IngestedSizes(database)

    async def start(self) -> None:
        """Reads the quotas, and starts to write usage to the store."""
        await self._keeper.start()

    async def close(self) -> None:
        """Writes the usage to the store."""
        await self._keeper.close()

    async def room(self, job: Job) -> tuple[int, PermanentError] | None:
        """Returns how many bytes the document may take in the index, and the error beyond; None without a quota."""
        await self._keeper.refresh()
        found = await self._sizes.room(job.id, self._of_storage(job))
        if found is None:
            return None
        size, quota = found
        return size, _spent(QuotaExceeded(quota, None, spent=True))

    async def store(self, job: Job, size: int) -> None:
        """Counts the bytes that the document takes in the index, before they are stored. Raises `PermanentError`."""
        try:
            await self._sizes.record(job.id, size, self._of_storage(job))
        except QuotaExceeded as e:
            raise _spent(e) from None

    @contextlib.asynccontextmanager
    async def embedding(
        self, job: Job, model: str, tokens: int, price: Price | None
    ) -> AsyncIterator[Callable[[int], None]]:
        """Charges the embedding of a document of so many tokens to the user and the tenant, under the key `BACKGROUND`.

        Yields a function that is told how many tokens were embedded: those count, also if the work fails later. Only
        budgets per day and month apply. Raises `PermanentError` if one of them has too little left, and `ApiError` if
        it may have enough later.
        """
        if job.payload.get(RELISTED):
            yield lambda more: None
            return
        charge = Charge(self._keeper, replace(job.principal, key_id=BACKGROUND), model, requests=0, rates=False)
        try:
            await charge.admit()
            await charge.reserve_tokens(tokens, price)
        except ApiError as e:
            if e.code == SPENT:
                raise PermanentError(SPENT, e.message) from None
            raise
        embedded = 0

        def read(more: int) -> None:
            nonlocal embedded
            embedded += more

        try:
            yield read
        finally:
            usage = {"prompt_tokens": embedded, "completion_tokens": 0}
            cost = cost_of(usage, price)
            charge.book(usage, cost)
            charge.end()
            count_tokens(model, job.tenant, usage)
            if cost is not None:
                count_cost(model, job.tenant, cost)

    def _of_storage(self, job: Job) -> Sequence[Quota]:
        if job.payload.get(RELISTED):
            return []
        return [each for each in self._keeper.quotas_for(job.principal, "") if each.measure == "stored_bytes"]


def _spent(e: QuotaExceeded) -> PermanentError:
    return PermanentError(SPENT, quota_error(e).message)
