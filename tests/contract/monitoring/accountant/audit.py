"""Plays the script on the accountant's stack, and compares every figure with the ledger."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.variables import substitute
from monitoring.rule import Recording
from tests.contract.monitoring.accountant import coverage, panels, recorded, records, traffic
from tests.contract.monitoring.accountant.client import GUARD_S
from tests.contract.monitoring.accountant.elsewhere import ELSEWHERE, RECORDINGS, fillers
from tests.contract.monitoring.accountant.ledger import Labels
from tests.contract.monitoring.accountant.stack import PLACES
from tests.contract.monitoring.accountant.truth import Book, Truth, Within, differences, labels_of
from tests.contract.monitoring.accountant.world import RULES, Prometheus, Waiting, World, standing
from tests.wait import eventually, last

OLD_S = 10
"""Objectives count what has happened until some seconds ago; an evaluation that much later has seen all."""
TRIES = 8
AS_RECORDED = ", as recorded"
COUNTED = '{__name__=~".+_requests:increase.+"}'
WINDOW = re.compile(r"(?<=\[)\w+(?=\])")
_HELD = {
    "overview: Waiting: waiting": {(): 1.0},
    "overview: In flight and waiting: in flight": {(): float(PLACES)},
    "overview: In flight and waiting: waiting": {(): 1.0},
}
"""What levels show while all places of a gateway are taken and one request waits."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure and how it was compared; `wrong` says where it differs."""

    name: str
    how: str
    truth: Truth
    wrong: list[str]


@dataclass
class Audit:
    """All comparisons of a round."""

    compared: list[Compared] = field(default_factory=list)
    uncompared: list[str] = field(default_factory=list)
    """Figures that nobody compares, and entries of lists that are of no use."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Figures that others fill, with the reason."""
    requests: int = 0

    def findings(self) -> list[str]:
        """Returns what is wrong, a line each."""
        return [f"{each.name}: {wrong}" for each in self.compared for wrong in each.wrong] + self.uncompared

    def add(self, name: str, truth: Truth, wrong: list[str], how: str = "") -> None:
        estimated = any(isinstance(value, Within) for value in truth.values())
        self.compared.append(Compared(name, how or ("within bounds" if estimated else "exactly"), truth, wrong))


@contextmanager
def audited(folder: Path) -> Iterator[Audit]:
    """Yields the comparisons of a round, after a rehearsal that makes each series exist."""
    audit = Audit(uncompared=coverage.uncompared())
    with standing(folder) as world:
        client = world.client
        callers = world.run(traffic.settle(client, world.operator))
        waiting = Waiting(world)

        async def unheard() -> None:
            return

        world.run(traffic.play(client, callers, waiting, 0, unheard))
        world.settled()
        prometheus = Prometheus(world.exporter)
        try:
            _one_round(audit, world, prometheus, callers, waiting)
        finally:
            prometheus.close()
        yield audit


def _one_round(
    audit: Audit, world: World, prometheus: Prometheus, callers: traffic.Callers, waiting: Callable[[], int]
) -> None:
    client = world.client
    eventually(lambda: prometheus.ask(COUNTED), "rules count", GUARD_S)
    opened = prometheus.next_scrape()
    first, warned = len(client.ledger), len(client.warnings)
    held: list[float] = []

    async def hold() -> None:
        held.append(await _in_thread(prometheus.next_scrape))

    world.run(traffic.play(client, callers, waiting, 1, hold))
    world.settled()
    closed = prometheus.next_scrape()
    log = world.log()
    book = Book(
        ledger=type(client.ledger)(client.ledger.entries[first:]),
        everything=client.ledger,
        log={line["request_id"]: line for line in log},
        opened=opened,
        closed=closed,
        folder=world.folder,
        instance=world.exporter,
        warnings=client.warnings[warned:],
    )
    audit.requests = len(book.ledger)
    _compare_panels(audit, prometheus, book, held[0])
    eventually(lambda: _evaluated(prometheus) > closed + OLD_S, "rules have seen all", GUARD_S)
    _compare_recorded(audit, prometheus, book)
    _compare_alerts(audit, prometheus)
    # Last, since whoever asks for usage sends requests.
    for name, wrong in records.compared(world, book, log):
        audit.add(name, {}, wrong, "exactly")
    _hold_elsewhere_exact(audit, world)


def _hold_elsewhere_exact(audit: Audit, world: World) -> None:
    """Notes series of others that a gateway fills."""
    filled = {
        line
        for line in world.exported().splitlines()
        if line.startswith(tuple(ELSEWHERE)) and not line.endswith(" 0.0")
    }
    audit.uncompared += [f"{line}: a gateway fills a series of the list of others' series" for line in sorted(filled)]


def _evaluated(prometheus: Prometheus) -> float:
    """Returns the time of the evaluation before which all objectives were evaluated."""
    asked = [prometheus.ask(f"min(timestamp({name}))") for name in recorded.SUMS]
    return min((float(each["value"][1]) for found in asked for each in found), default=0)


async def _in_thread(call: Callable[[], float]) -> float:
    return await asyncio.to_thread(call)


def _compare_panels(audit: Audit, prometheus: Prometheus, book: Book, held: float) -> None:
    for name, expression in coverage.drawn():
        if others := fillers(expression):
            audit.elsewhere[name] = _reasons(others)
        elif (figure := panels.PANELS.get(name)) is not None:
            truth = figure(book)
            asked = substitute(expression, lambda v: book.window if v == "__rate_interval" else ".*")
            audit.add(name, truth, differences(truth, prometheus.ask(asked, book.closed)))
            if name in _HELD:
                wrong = differences(_HELD[name], prometheus.ask(asked, held))
                audit.add(f"{name}, while places are taken", _HELD[name], wrong)


def _reasons(others: tuple[str, ...]) -> str:
    return "; ".join(dict.fromkeys(ELSEWHERE[each] for each in others))


SCALED = {recorded.key(rule): rule for group in RULES for rule in group.rules if isinstance(rule, Recording)}
"""The rules that are evaluated, by their key."""


def _compare_recorded(audit: Audit, prometheus: Prometheus, book: Book) -> None:
    """Compares each rule over the time of the round, and what was recorded with the rule."""
    now = prometheus.next_scrape()
    age = f"{round(now - book.opened)}s"
    for rule in RECORDINGS:
        name = recorded.key(rule)
        fast = SCALED[name]
        if others := fillers(rule.expression):
            audit.elsewhere[name] = _reasons(others)
            continue
        if name in recorded.LLM:
            truth = recorded.LLM[name](book)
            shown = prometheus.ask(WINDOW.sub(book.window, fast.expression), book.closed)
        elif name in recorded.RATIOS:
            truth = recorded.shares_of(recorded.RATIOS[name], book)
            shown = prometheus.ask(WINDOW.sub(age, fast.expression), now)
        elif name in recorded.LEFT:
            truth = recorded.left_of(recorded.LEFT[name], book)
            shown = prometheus.ask(WINDOW.sub(age, fast.expression), now)
        elif name in recorded.SUMS:
            objective, bad = recorded.SUMS[name]
            truth = recorded.sums_of(objective, book, bad=bad)
            shown = prometheus.ask(f"sum_over_time({name}[{age}])", now)
        else:
            continue
        audit.add(name, truth, differences(truth, shown))
        _compare_with_rule(audit, prometheus, name, fast, book, now)
    _compare_objectives(audit, prometheus, book, now, age)


def _compare_objectives(audit: Audit, prometheus: Prometheus, book: Book, now: float, age: str) -> None:
    """Compares the panels of objectives over the time of the round: they draw recorded series."""
    for name, expression, what in coverage.objectives_drawn():
        if others := fillers(expression):
            audit.elsewhere[name] = _reasons(others)
            continue
        [series] = coverage.RECORDED.findall(expression)
        truth = recorded.DRAWN[what](recorded.OF[series], book)
        audit.add(name, truth, differences(truth, prometheus.ask(_over(expression, age), now)))


def _over(expression: str, age: str) -> str:
    """Returns a panel's expression over the age of a round: shares are computed anew, and counts summed up."""

    def wider(found: re.Match[str]) -> str:
        rule = SCALED.get(found[1])
        return f"({rule.expression})" if rule is not None and found[1] not in recorded.SUMS else found[1]

    return WINDOW.sub(age, coverage.RECORDED.sub(wider, expression))


def _compare_alerts(audit: Audit, prometheus: Prometheus) -> None:
    """Compares the panels of alerts with the alerts that Prometheus itself calls firing."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for target in (each for each in panel.targets if "ALERTS" in each.expression):
                asked = substitute(target.expression, lambda v: ".*")
                wrong = last(lambda asked=asked: _alerts(prometheus, asked), lambda found: not found, 60)  # type: ignore[misc]
                audit.add(f"{dashboard.name}: {panel.title}: {target.legend}", {}, wrong)


def _alerts(prometheus: Prometheus, asked: str) -> list[str]:
    truth: dict[Labels, float] = {}
    groups = prometheus.http.get("/rules", params={"type": "alert"}).json()["data"]["groups"]
    for alert in (each for group in groups for rule in group["rules"] for each in rule["alerts"]):
        if alert["state"] == "firing" and alert["labels"]["severity"] != "none":
            labels = () if asked.startswith("(count") else labels_of({**alert["labels"], "alertstate": "firing"})
            if labels or alert["labels"]["severity"] in ("page", "ticket"):
                truth[labels] = truth.get(labels, 0) + 1
    return differences(truth, prometheus.ask(asked))


def _compare_with_rule(
    audit: Audit, prometheus: Prometheus, name: str, fast: Recording, book: Book, now: float
) -> None:
    """Compares what was recorded during the round with the rule as of that time.

    A rule does not see a scrape that is being stored when it is evaluated, and whoever asks later does: they must agree
    at one of several times.
    """
    kept = prometheus.ask(f"{name}[{round(now - book.opened)}s]", now)
    values = {(at, value) for each in kept for at, value in each["values"] if value != "NaN"}
    times = sorted({at for at, value in values if float(value)}, reverse=True)[:TRIES]
    times += sorted({at for at, _ in values}, reverse=True)[: TRIES - len(times)]
    truth: Truth = {}
    wrong: list[str] = []
    for at in times:
        shown = [{**each, "metric": _without(each["metric"], fast.fixed)} for each in prometheus.ask(name, at)]
        made = prometheus.ask(fast.expression, at)
        truth = {labels_of(each["metric"]): float(each["value"][1]) for each in made if each["value"][1] != "NaN"}
        if not (wrong := differences(truth, shown)):
            break
    audit.add(f"{name}{AS_RECORDED}", truth, wrong, "exactly")


def _without(labels: Mapping[str, str], fixed: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in fixed}
