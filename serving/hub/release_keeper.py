"""Keeps a gateway's managed aliases equal to the stored releases, and judges canaries by their outcomes.

Every gateway does both, so that the end of one changes nothing; the store decides which of them counts an outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from serving.config import Catalog, Managed, Target
from serving.core.ids import now
from serving.engines.router import ModelRouter, ReleasedTargets
from serving.hub.canary import GUARDS_OF, KINDS, Tallies, Tally, counted, evidence, tallies_of, verdict
from serving.hub.outcomes import Outcomes
from serving.hub.releases import Change, EndReason, Release, Releases
from serving.store.errors import Conflict, StoreUnavailable
from serving.telemetry import metrics

log = logging.getLogger("headrace.api")

PERIOD_S = 1.0
"""Interval of looking at the stored releases, and at outcomes of canaries."""

SETTLE_S = 0.5
"""Age at which outcomes are read: captures are stored in another order than that of their times."""

IDLE_S = 30.0
"""Interval of storing that a canary had no outcomes."""

IDLE_LOOKS = 30
"""Without managed aliases, only every so many looks are for releases that a former configuration left."""

GRACE_S = 60.0
"""Time before a release ends because of the configuration: while it changes, gateways have different ones."""

HOUR_S = 3600.0


class ReleaseKeeper:
    """Sets `released` from the store, within the bounds of the configuration.

    `router` returns the current router, which changes with the configuration and with the adapters that are live.
    """

    def __init__(
        self,
        releases: Releases,
        outcomes: Outcomes,
        released: ReleasedTargets,
        router: Callable[[], ModelRouter],
    ) -> None:
        self._releases = releases
        self._outcomes = outcomes
        self._released = released
        self._router = router
        self._managed: Mapping[str, Managed] = {}
        self._shown: set[tuple[str, str]] = set()
        self._missing: dict[str, float] = {}
        self._looks = 0
        self._refreshing = asyncio.Lock()
        self._failing = False

    def configure(self, catalog: Catalog) -> None:
        """Takes a new catalogue, which the router has already."""
        managed = {alias.name: alias.managed for alias in catalog.aliases if alias.managed is not None}
        metrics.introduce_releases(managed)
        self._managed = managed

    async def run(self) -> None:
        """Refreshes and judges every `PERIOD_S` until cancelled. A failure is logged once, until it succeeds again."""
        while True:
            try:
                await self.look()
                self._failing = False
            except Exception as e:
                if not self._failing:
                    self._failing = True
                    log.warning("releases are not up to date: %s", e, exc_info=not isinstance(e, StoreUnavailable))
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Judges canaries, and sets the targets of aliases once."""
        if self._managed or self._looks % IDLE_LOOKS == 0:
            for release in await self._releases.open():
                await self._judge(release)
        self._looks += 1
        await self.refresh()

    async def refresh(self) -> None:
        """Sets the targets of all managed aliases from the store. Raises `StoreUnavailable`."""
        async with self._refreshing:  # what was read earlier must not be set later
            await self._refresh()

    async def _refresh(self) -> None:
        managed, router = self._managed, self._router()
        if not (managed or self._shown):
            return
        opened, promoted = await self._releases.live(managed) if managed else ([], {})
        running = {release.alias: release for release in opened}
        targets: dict[str, Sequence[Target]] = {}
        for name, bounds in managed.items():
            found = self._targets(name, bounds, running.get(name), promoted.get(name), router)
            if found:
                targets[name] = found
        if self._managed is managed:  # else a newer catalogue sets its own
            self._released.replace(targets)
            self._show(targets, running)

    def _targets(
        self, alias: str, managed: Managed, release: Release | None, promoted: Release | None, router: ModelRouter
    ) -> Sequence[Target]:
        """Returns an alias's targets; none for those of the configuration."""
        if managed.pin is not None:
            return ()
        current = promoted.target if promoted is not None else managed.base
        if not router.releasable(current, alias):
            current = managed.base
        if release is None or release.status != "canary" or not router.releasable(release.target, alias):
            return (Target(model=current),)
        share = min(release.share, managed.max_canary)
        return (Target(model=current, weight=1 - share), Target(model=release.target, weight=share))

    async def _judge(self, release: Release) -> None:
        """Counts new outcomes of a release, and ends it when they decide."""
        managed = self._managed.get(release.alias)
        tallies = tallies_of(release.tallies)
        until = now() - SETTLE_S
        if until <= release.judged_until:
            return
        gone = self._gone(release, managed)
        change: Change | None = None
        reason: EndReason = "requested"
        if gone is not None:
            if now() < self._missing.setdefault(release.id, now()) + GRACE_S:
                return
            change, reason = "rollback", gone
        elif managed is not None:
            self._missing.pop(release.id, None)
            found, until = await self._outcomes.between(release, managed, release.judged_until, until)
            tallies = counted(tallies, found)
            change, reason = _decide(release, managed, tallies, gated=await self._gated(release, managed))
            if not found and change is None and until < release.judged_until + IDLE_S:
                return
        try:
            mine = await self._releases.judge(release, until, tallies, change, reason)
        except Conflict:  # it was changed by request at the same time
            return
        if mine and change is not None:
            ended(release, change, reason)

    async def _gated(self, release: Release, managed: Managed) -> bool:
        """Whether a release may be promoted: a version only while what it was evaluated against answers."""
        if release.version is None or not managed.auto_promote:
            return release.gated
        router = self._router()
        base = await self._releases.base(release.alias, managed, lambda model: router.releasable(model, release.alias))
        return release.gated and base == release.base

    def _gone(self, release: Release, managed: Managed | None) -> EndReason | None:
        """Returns what a release needs and the configuration does not have."""
        if managed is None:
            return "not_managed"
        known = self._router().releasable(release.target, release.alias)
        return None if known else "target_missing"

    def _show(self, targets: Mapping[str, Sequence[Target]], running: Mapping[str, Release]) -> None:
        shares = {
            (name, target.model): target.weight / sum(each.weight for each in these)
            for name, these in targets.items()
            for target in these
        }
        for key in self._shown | shares.keys():  # a series cannot be removed: former targets become 0
            metrics.release_share.labels(*key).set(shares.get(key, 0))
        self._shown |= shares.keys()
        for name in {alias for alias, _ in self._shown}:
            release = running.get(name)
            tallies = tallies_of(release.tallies) if release is not None else {}
            metrics.release_harm.labels(name).set(evidence(tallies)["harm"] if release is not None else 0)
            self._show_outcomes(name, release, tallies)

    def _show_outcomes(self, alias: str, release: Release | None, tallies: Tallies) -> None:
        """Shows what was counted of both sides of a release; of other models, that nothing was."""
        managed = self._managed.get(alias)
        for model in {model for name, model in self._shown if name == alias}:
            metrics.child(metrics.release_ttft_seconds, alias, model)  # from zero on
            canary = release is not None and model == release.target
            for kind in KINDS:
                tally = tallies.get(kind, Tally()) if release and model in (release.target, release.base) else Tally()
                side = tally.canary if canary else tally.base
                metrics.release_outcomes.labels(alias, model, kind).set(side.seen)
                for guard in GUARDS_OF[kind]:
                    if managed is not None and guard not in managed.guards:
                        continue  # it finds nothing, which is not the same as nothing bad
                    metrics.release_bad_outcomes.labels(alias, model, guard).set(side.bad.get(guard, 0))


def _decide(release: Release, managed: Managed, tallies: Tallies, *, gated: bool) -> tuple[Change | None, EndReason]:
    found = verdict(tallies)
    if found == "harmful":
        return "rollback", "guards"
    if found == "no_worse" and managed.auto_promote and release.status == "canary" and gated:
        return "promote", "no_worse"
    if now() > release.created_at + managed.max_hours * HOUR_S:
        return "rollback", "undecided"
    return None, "requested"


def ended(release: Release, change: Change, reason: EndReason) -> None:
    """Reports the end of a release."""
    outcome = {"promote": "promoted", "rollback": "rolled_back"}.get(change)
    if outcome is None:
        return
    metrics.releases.labels(release.alias, outcome, reason).inc()
    level = logging.WARNING if reason in ("guards", "target_missing") else logging.INFO
    log.log(
        level, "release %s of %s for the alias %s: %s (%s)", release.id, release.target, release.alias, outcome, reason
    )
