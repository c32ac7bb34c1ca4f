"""Keeps the adapters of a replica equal to the live set of its model, and reports what it serves."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from serving.config import AdapterBounds
from serving.core.ids import now
from serving.engines.adapters.errors import AdapterRejected, StartFailed
from serving.engines.adapters.local_files import LocalFiles
from serving.store.errors import StoreUnavailable
from serving.store.objects.live_adapters import REPORT_S, LiveAdapter, LiveSet, LiveSets, Report
from serving.telemetry import metrics

LOOK_S = 1.0
"""Interval in seconds of looks at the live set."""
RETRY_S = 30.0
"""Time in seconds after which an adapter that could not be copied is tried again."""

log = logging.getLogger("headrace.engines")

Serve = Callable[[Mapping[str, Path]], None]
"""Makes an engine serve exactly these adapters: their folders by name.

Raises `AdapterRejected` because of one of them, or `StartFailed`; the engine then serves what it served before, or a
part of the new ones.
"""


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    again: float


class Follower:
    """Follows the live set of `model` by calls of `step`, never two at once.

    `needed` are the artefacts that the engine loads.
    """

    def __init__(
        self,
        model: str,
        bounds: AdapterBounds,
        sets: LiveSets,
        needed: Sequence[str],
        serve: Serve,
        *,
        parent: Path | None = None,
    ) -> None:
        self._model = model
        self._bounds = bounds
        self._sets = sets
        self._serve = serve
        self._files = LocalFiles(sets, needed, parent)
        self._replica = secrets.token_hex(8)
        self._loaded: dict[str, Path] = {}
        self._failures: dict[str, _Failure] = {}
        self._seen: set[str] = set()
        self._reporting = threading.Lock()  # for the newest report, which another thread renews
        self._reported: Report | None = None
        self._closed = False
        self._unread = False
        self._again = 0.0

    @property
    def loaded(self) -> Mapping[str, Path]:
        """Returns the adapters that the engine serves: their folders by name."""
        return self._loaded

    def step(self, *, leaving: Collection[str] = (), change: bool = True) -> None:
        """Loads what is new in the live set, unloads what is no longer in it, and reports. Raises nothing.

        `leaving` are adapters that still answer requests of earlier, without new ones. Without `change` the engine
        cannot take other adapters now.
        """
        try:
            live = self._sets.read(self._model)
        except StoreUnavailable as e:
            if not self._unread:
                log.warning("the adapters of %s cannot be read: %s", self._model, e)
            self._unread = True
            return
        self._unread = False
        wanted = {adapter.name: adapter for adapter in live.adapters}
        self._failures = {name: failure for name, failure in self._failures.items() if name in wanted}
        if change:
            self._follow(self._fetched(self._allowed(wanted)))
        # An engine that cannot change now may have to start again with what it serves.
        self._files.keep({*wanted, *self._loaded})
        self._tell(live, leaving)

    def _allowed(self, wanted: Mapping[str, LiveAdapter]) -> list[LiveAdapter]:
        """Returns the adapters within the bounds that are not to be tried later."""
        at = time.monotonic()
        allowed = []
        for number, (name, adapter) in enumerate(wanted.items()):
            if number >= self._bounds.max:
                self._fail(name, f"a replica serves at most {self._bounds.max} adapters (adapters.max)")
            elif adapter.rank > self._bounds.rank:
                self._fail(name, f"its rank {adapter.rank} is above {self._bounds.rank} (adapters.rank)")
            elif name not in self._failures or at >= self._failures[name].again:
                allowed.append(adapter)
        return allowed

    def _fetched(self, adapters: Sequence[LiveAdapter]) -> dict[str, Path]:
        found = {}
        for adapter in adapters:
            try:
                found[adapter.name] = self._files.fetch(adapter)
            except (AdapterRejected, StoreUnavailable) as e:
                self._fail(adapter.name, str(e))
        return found

    def _follow(self, found: dict[str, Path]) -> None:
        """Has the engine serve the adapters `found`, except those that it rejects."""
        while found.keys() != self._loaded.keys() and time.monotonic() >= self._again:
            try:
                self._serve(found)
            except AdapterRejected as e:
                self._fail(e.adapter, str(e), again=math.inf)  # it would cost another start
                del found[e.adapter]
            except StartFailed as e:
                log.error("the adapters of %s cannot be served: %s", self._model, e)
                self._again = time.monotonic() + RETRY_S
            else:
                self._loaded = found
                for name in found:
                    self._failures.pop(name, None)

    def _fail(self, name: str, reason: str, *, again: float | None = None) -> None:
        known = self._failures.get(name)
        if known is None or known.reason != reason:
            log.error("the adapter %s of %s cannot be served: %s", name, self._model, reason)
        self._failures[name] = _Failure(reason, time.monotonic() + RETRY_S if again is None else again)

    def _tell(self, live: LiveSet, leaving: Collection[str]) -> None:
        """Reports to the metrics, and to the live set's place if something changed or the last report grows old."""
        names = {adapter.name for adapter in live.adapters}
        self._seen |= names
        for name in self._seen:
            metrics.adapter_missing.labels(self._model, name).set(name in names and name not in self._loaded)
        self._seen = names
        failed = {name: failure.reason for name, failure in self._failures.items()}
        still = tuple(sorted(name for name in leaving if name not in self._loaded))
        self._report(Report(self._replica, live.revision, tuple(self._loaded), still, failed))

    def renew(self) -> None:
        """Repeats the last report if it grows old; in another thread than `step`, which may wait for an engine."""
        self._report(None)

    def _report(self, new: Report | None) -> None:
        with self._reporting:
            last, at = self._reported, now()
            report = new or last
            if report is None or self._closed:
                return
            if last is not None and report == replace(last, at=report.at) and at < last.at + REPORT_S:
                return
            report = replace(report, at=at)
            try:
                self._sets.report(self._model, report)
            except StoreUnavailable as e:
                log.warning("what a replica of %s serves cannot be reported: %s", self._model, e)
            else:
                self._reported = report

    def close(self) -> None:
        """Removes the local files and the report."""
        self._files.close()
        with self._reporting:
            self._closed = True
        try:
            self._sets.withdraw(self._model, self._replica)
        except StoreUnavailable as e:
            log.warning("the report of a replica of %s cannot be removed: %s", self._model, e)


class FollowingReplica(Protocol):
    """A replica that threads look after."""

    closing: threading.Event

    def step(self) -> None:
        """Does what is to be done now; it may take minutes."""

    def renew(self) -> None:
        """Repeats what the replica reports."""


def keep(replica: FollowingReplica, wake: threading.Event) -> None:
    """Calls `step` every second, and when `wake` is set, and `renew` in another thread, as long as the replica exists
    and is open.
    """
    for look, interval, woken in ((_step, LOOK_S, wake), (_renew, REPORT_S / 2, replica.closing)):
        arguments = (weakref.ref(replica), look, interval, woken)
        threading.Thread(target=_keep, args=arguments, name="adapters", daemon=True).start()


def _step(replica: FollowingReplica) -> None:
    replica.step()


def _renew(replica: FollowingReplica) -> None:
    replica.renew()


def _keep(
    replica: weakref.ref[FollowingReplica],
    look: Callable[[FollowingReplica], None],
    interval_s: float,
    woken: threading.Event,
) -> None:
    while (found := replica()) is not None and not found.closing.is_set():
        try:
            look(found)
        except Exception:
            log.exception("a replica could not be looked after")
        closing = found.closing
        del found
        woken.wait(interval_s)
        if woken is not closing:
            woken.clear()
