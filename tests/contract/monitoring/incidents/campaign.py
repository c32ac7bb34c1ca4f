"""Injects each incident, and notes what names another cause, too late or not at all."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monitoring import alerts
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.variables import substitute
from tests.contract.monitoring.accountant.world import Prometheus
from tests.contract.monitoring.incidents.incident import INCIDENTS, Incident
from tests.contract.monitoring.incidents.injections import INJECTIONS
from tests.contract.monitoring.incidents.scene import Scene, scene
from tests.wait import last

FIRES_S = 240
"""Within which an alert fires, on the clock that is 120 times as fast, on a busy host."""
SILENT_S = 240
DRAWN_S = 20
"""The window of panels: some scrapes."""
PAGES = frozenset(rule.name for group in alerts.GROUPS for rule in group.rules if rule.severity == "page")
"""Alerts that wake somebody and name a cause; those of objectives tell the effect."""
NAMING = PAGES | {incident.alert for incident in INCIDENTS}
"""Alerts that must not fire first when another cause is the true one."""
Series = tuple[Mapping[str, str], float]


@dataclass
class Outcome:
    """What was seen of an incident."""

    incident: Incident
    seconds: float = 0
    """From the injection to the alert."""
    wrong: list[str] = field(default_factory=list)


def ran(folder: Path, incidents: Iterable[Incident], told: Callable[[Outcome], None] = lambda outcome: None) -> None:
    """Runs the incidents one after the other on one stack, and tells of each."""
    with scene(folder) as (made, prometheus):
        for incident in incidents:
            told(_observe(made, prometheus, incident))


def _observe(made: Scene, prometheus: Prometheus, incident: Incident) -> Outcome:
    outcome = Outcome(incident)
    # Before the first scrape it would be silent for want of data.
    if not last(lambda: _drawn(prometheus, incident), bool, SILENT_S):
        outcome.wrong.append(f"{incident.panel} draws nothing")
        return outcome
    if noise := last(lambda: _noise(prometheus, incident), lambda found: not found, SILENT_S):
        outcome.wrong.append(f"before it happens, there are {', '.join(sorted(noise))}")
        return outcome
    before = _of_cause(_drawn(prometheus, incident), incident)
    known = {each["alertname"] for each in _firing(prometheus)}  # of earlier incidents
    loop = made.world.loop.loop
    over = asyncio.Event()
    began = time.monotonic()
    injected = asyncio.run_coroutine_threadsafe(INJECTIONS[incident.name](made, over), loop)
    named: set[str] = set()
    try:
        while not (firing := _of(_firing(prometheus), incident)):
            if time.monotonic() > began + FIRES_S:
                outcome.wrong.append(f"{incident.alert} is silent for {FIRES_S} s")
                return outcome
            assert not injected.done() or injected.exception() is None, injected.exception()
            named |= {each["alertname"] for each in _firing(prometheus)} & NAMING
            time.sleep(0.5)
        outcome.seconds = time.monotonic() - began
        outcome.wrong += [f"{incident.alert} also names {labels}" for labels in firing if not _has(labels, incident)]
        others = named - known - {incident.alert} - incident.also
        outcome.wrong += [f"{name} fires first, and names another cause" for name in sorted(others)]
        outcome.wrong += _standing_out(prometheus, incident, before)
    finally:
        loop.call_soon_threadsafe(over.set)
        injected.result(FIRES_S)
    return outcome


def _firing(prometheus: Prometheus) -> list[Mapping[str, str]]:
    return [each["metric"] for each in prometheus.ask('ALERTS{alertstate="firing"}')]


def _of(firing: Iterable[Mapping[str, str]], incident: Incident) -> list[Mapping[str, str]]:
    """Returns the alert's firing instances, once one of them names the cause."""
    found = [labels for labels in firing if labels["alertname"] == incident.alert]
    return found if any(_has(labels, incident) for labels in found) else []


def _has(labels: Mapping[str, str], incident: Incident) -> bool:
    return incident.labels.items() <= labels.items()


def _noise(prometheus: Prometheus, incident: Incident) -> set[str]:
    """Returns which alerts are firing or pending, of the incident's and those that wake somebody."""
    return {each["metric"]["alertname"] for each in prometheus.ask("ALERTS")} & (PAGES | {incident.alert})


def _drawn(prometheus: Prometheus, incident: Incident) -> list[Series]:
    """Returns what the panel draws now."""
    board = next(each for each in DASHBOARDS if each.name == incident.dashboard)
    panel = next(each for each in board.panels if each.title == incident.panel)
    found = []
    for target in panel.targets:
        asked = substitute(target.expression, lambda v: f"{DRAWN_S}s" if v == "__rate_interval" else ".*")
        found += [(each["metric"], float(each["value"][1])) for each in prometheus.ask(asked)]
    return [(labels, value) for labels, value in found if not math.isnan(value)]


def _of_cause(drawn: Iterable[Series], incident: Incident) -> float:
    return max((value for labels, value in drawn if incident.series.items() <= labels.items()), default=0)


def _standing_out(prometheus: Prometheus, incident: Incident, before: float) -> list[str]:
    """Returns what is wrong with the panel: the cause's series is the highest one, and higher than before."""
    drawn = _drawn(prometheus, incident)
    value = _of_cause(drawn, incident)
    others = [(dict(labels), other) for labels, other in drawn if not incident.series.items() <= labels.items()]
    wrong = [
        f"{incident.panel}: {labels} is at {other:g}, the cause at {value:g}"
        for labels, other in others
        if other >= value
    ]
    return wrong if value > before else [*wrong, f"{incident.panel}: {value:g} now, and {before:g} before"]
