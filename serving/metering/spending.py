"""What tenants have spent in this month."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from serving.core.ids import now
from serving.store.usage import Usage

BILLION = 10**9


class Spending:
    """Adds up the stored cost of this month, and reads all of its days again only when a day has passed.

    What is used before midnight can be stored after it, so yesterday is always read. `clock` returns unix seconds.
    """

    def __init__(self, usage: Usage, *, clock: Callable[[], float] = now) -> None:
        self._usage = usage
        self._clock = clock
        self._until = ""
        self._before: Counter[tuple[str, str]] = Counter()

    async def month_to_date(self) -> dict[tuple[str, str], float]:
        """Returns the cost of this calendar month (UTC) by tenant and currency. Raises `StoreUnavailable`."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        first = today.replace(day=1)
        recent = max(first, today - timedelta(days=1))
        if self._until != recent.isoformat():
            until = (recent - timedelta(days=1)).isoformat()
            known = await self._usage.cost_of_tenants(first_day=first.isoformat(), last_day=until)
            self._until, self._before = recent.isoformat(), Counter(known)
        new = await self._usage.cost_of_tenants(first_day=recent.isoformat(), last_day=today.isoformat())
        return {key: cost / BILLION for key, cost in (self._before + Counter(new)).items()}
