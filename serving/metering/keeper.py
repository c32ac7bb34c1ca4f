"""Enforces quotas for the requests of one gateway, and counts their usage.

At its admission, a request reserves the maximum that it can use from the gateway's shares of the quotas, and settles at
its end. The store is asked when a share is too small, and gets usage and unused amounts every second. During an outage
of the store, minute and stream quotas apply to each gateway separately, and day and month quotas allow only what the
gateway already holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.config import Quotas
from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import finish
from serving.quotas.quota import Quota, QuotaExceeded, Rules
from serving.quotas.share import Share
from serving.quotas.windows import bounds
from serving.store.errors import StoreUnavailable
from serving.store.quotas import QuotaRefused, QuotaStore
from serving.store.usage import Usage, Used, Whose

__all__ = ["Keeper", "QuotaExceeded", "QuotaUnavailable", "Reservation"]

log = logging.getLogger("headrace.quotas")

TICK_S = 1.0
"""Interval at which usage is written to the store, and changes of quotas are read."""

GONE_S = 2.0
"""Time for which the store is not asked after a failure: requests would wait for it one after the other."""

PRUNE_S = 3600.0

CALLERS = 4096
"""Number of callers and models whose quotas are cached."""


class QuotaUnavailable(Exception):
    """The state of `quota` is unknown, since the store is unavailable."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(quota.description)
        self.quota = quota


@dataclass(slots=True)
class Reservation:
    """Units of a window that a request may use."""

    share: Share
    units: int


class Keeper:
    """The quotas of all requests of a gateway. Not thread-safe. `clock` returns unix seconds."""

    def __init__(self, store: QuotaStore, usage: Usage, defaults: Quotas, *, clock: Callable[[], float] = now) -> None:
        self.defaults = defaults
        self._store = store
        self._usage = usage
        self._clock = clock
        self._gateway = new_id("gw")
        self._rules = Rules(defaults)
        self._revision = 0
        self._of: dict[tuple[Principal, str], tuple[Quota, ...]] = {}
        self._shares: dict[tuple[str, int], Share] = {}
        self._latest: dict[str, Share] = {}  # `_shares` by quota
        self._counted: dict[Whose, Used] = {}
        self._gone_until = 0.0
        self._prune_at = 0.0
        self._wake = asyncio.Event()
        self._ticking: asyncio.Task[None] | None = None
        self._telling = asyncio.Lock()

    async def start(self) -> None:
        """Reads the quotas and starts to write usage to the store."""
        await self.reload()
        self._ticking = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Writes the usage to the store, and returns all shares."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):
            await self.tell(all=True)

    def quotas_for(self, principal: Principal, model: str) -> tuple[Quota, ...]:
        """Returns the quotas for a request to `model`, in the order of ids."""
        key = (principal, model)
        found = self._of.get(key)
        if found is None:
            if len(self._of) >= CALLERS:
                self._of.clear()
            found = self._of[key] = self._rules.quotas_for(principal, model)
        return found

    def ceiling(self, below: Quota) -> Quota | None:
        """Returns the platform's limit above a tenant's, as last read; None without one."""
        return self._rules.ceiling(below)

    def share(self, quota: Quota) -> Share:
        """Returns the share of a quota's current window."""
        at = self._clock()
        latest = self._latest.get(quota.id)
        if latest is not None and latest.start <= at < latest.end:
            return latest  # each request needs it some dozen times, and computing a month's bounds is slow
        start, end = bounds(quota.window, at)
        found = self._shares.get((quota.id, start))
        if found is None:
            found = self._shares[quota.id, start] = Share(quota, start, end)
        self._latest[quota.id] = found
        return found

    def budgets(self) -> list[Share]:
        """Returns this gateway's shares of day and month quotas."""
        return [share for share in self._shares.values() if share.quota.is_budget]

    async def reserve(self, needs: Sequence[tuple[Quota, int]]) -> list[Reservation]:
        """Reserves units of all quotas, or of none.

        The order of `needs` is that of the quotas' ids. Raises `QuotaExceeded` or `QuotaUnavailable`.
        """
        at = self._clock()
        made: list[Reservation] = []
        lacking: list[tuple[Reservation, int, int]] = []
        try:
            for quota, need in needs:
                share = self.share(quota)
                if share.refused(need, at):
                    raise self._exceeded(share, need, at)
                missing = share.reserve(need)
                made.append(Reservation(share, need - missing))
                if missing:
                    lacking.append((made[-1], missing, need))
            if lacking:
                # If the caller disconnects meanwhile, granted units are returned.
                await finish(self._fill(lacking))
        except BaseException:
            for each in made:
                self.settle(each, 0)
            raise
        return made

    def settle(self, reservation: Reservation, used: int) -> None:
        """Ends a reservation of which `used` units were used."""
        reservation.share.settle(reservation.units, used)
        reservation.units = 0
        if reservation.share.scarce:
            self._wake.set()  # another gateway may need the unused ones

    def count(self, whose: Whose, used: Used) -> None:
        """Counts usage, which is written to the store within seconds."""
        self._counted[whose] = self._counted.get(whose, Used()) + used

    async def reload(self) -> None:
        """Reads the current quotas."""
        revision, given = await self._store.all()
        self._rules = Rules(self.defaults, given)
        self._revision = revision
        self._of.clear()
        for share in self._shares.values():
            current = self._rules.current(share.quota)
            if current is None or current.limit != share.quota.limit:
                share.surrender()
                share.quota = current or share.quota

    async def refresh(self) -> None:
        """Reads the quotas again if they have changed since. Raises `StoreUnavailable`."""
        if await self._store.revision() != self._revision:
            await self.reload()

    async def tell(self, *, all: bool = False) -> None:
        """Writes usage to the store and returns unneeded units. Raises `StoreUnavailable`."""
        async with self._telling:
            # A failed read loses nothing. The effect of a failed write is unknown: then returned units stay taken.
            await self.refresh()
            at = self._clock()
            posted = [(share, post) for share in self._shares.values() if (post := share.post(all=all)) is not None]
            streams = any(share.quota.window == "concurrent" and share.held for share in self._shares.values())
            if posted or streams:
                try:
                    stand = await self._store.post(self._gateway, [post for _, post in posted], at)
                except (StoreUnavailable, asyncio.CancelledError) as e:
                    if isinstance(e, StoreUnavailable):
                        self._lose_streams()
                    for share, _ in posted:
                        share.confirm_posting(share.standing)
                    raise
                except Exception:  # nothing was written
                    for share, _ in posted:
                        share.take_back_posting()
                    raise
                for (share, _), standing in zip(posted, stand, strict=True):
                    share.confirm_posting(standing)
            self._shares = {key: share for key, share in self._shares.items() if not share.is_idle(at)}
            self._latest = {}
            await self._tell_usage()

    async def _tell_usage(self) -> None:
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            await self._usage.add(list(counted.items()))
        except Exception:  # a cancelled caller has written it
            for whose, used in counted.items():
                self.count(whose, used)
            raise

    async def _fill(self, lacking: Sequence[tuple[Reservation, int, int]]) -> None:
        """Reserves missing units. One request asks the store, on behalf of all that lack the same."""
        async with lacking[0][0].share.filling:
            lacking = [(each, rest, need) for each, missing, need in lacking if (rest := self._top_up(each, missing))]
            if lacking:
                await self._ask(lacking, self._clock())  # a request that waited long uses the result found meanwhile

    def _top_up(self, reservation: Reservation, missing: int) -> int:
        rest = reservation.share.top_up(missing)
        reservation.units += missing - rest
        return rest

    async def _ask(self, lacking: Sequence[tuple[Reservation, int, int]], at: float) -> None:
        for each, missing, need in lacking:
            if each.share.refused(missing, at):
                raise self._exceeded(each.share, need, at)
        wants = [each.share.want(missing, need, at) for each, missing, need in lacking]
        gateway = self._gateway
        try:
            if at < self._gone_until:
                raise StoreUnavailable("it failed a moment ago")
            found = await self._store.take(gateway, wants, at)
        except StoreUnavailable:
            if at >= self._gone_until:
                log.warning("quotas cannot be read: minute quotas apply per gateway, others to held units")
                self._gone_until = self._clock() + GONE_S  # a failing request to the store may take longer than that
                self._lose_streams()
            self._lend(lacking, at)
            return
        if isinstance(found, QuotaRefused):
            for each, missing, need in lacking:
                if each.share.quota.id == found.quota_id:
                    each.share.refuse(missing, found.standing, at)
                    raise self._exceeded(each.share, need, at)
        else:
            for (each, missing, _), granted in zip(lacking, found, strict=True):
                each.share.receive(granted.units, missing, granted.standing)
                each.units += missing
                if gateway != self._gateway and each.share.quota.window == "concurrent":
                    each.share.owe(granted.units)

    def _lend(self, lacking: Sequence[tuple[Reservation, int, int]], at: float) -> None:
        for each, _, _ in lacking:
            if each.share.quota.is_budget:
                raise QuotaUnavailable(each.share.quota)
        for each, missing, need in lacking:
            if not each.share.lend(missing):
                raise self._exceeded(each.share, need, at)
            each.units += missing

    def _lose_streams(self) -> None:
        """Continues under another gateway name, since the store's state of the old one is unknown; its
        lease expires.
        """
        self._gateway = new_id("gw")
        for share in self._shares.values():
            if share.quota.window == "concurrent":
                share.take_over()

    def exceeded(self, quota: Quota, need: int) -> QuotaExceeded:
        """Returns the error that less than `need` is left of a quota."""
        return self._exceeded(self.share(quota), need, self._clock())

    def _exceeded(self, share: Share, need: int, at: float) -> QuotaExceeded:
        lasting = share.quota.window != "concurrent" and share.spends(need)
        return QuotaExceeded(share.quota, max(share.end - at, 1.0) if lasting else 1.0, spent=lasting)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.tell()
                if (at := self._clock()) >= self._prune_at:
                    self._prune_at = at + PRUNE_S
                    await self._store.prune(at)
            except StoreUnavailable as e:
                log.warning("usage will be stored later: %s", e)
            except Exception:
                log.exception("usage could not be stored")
