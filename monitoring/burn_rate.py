"""Rules of an objective: how fast its error budget burns, and alerts on that rate.

Windows and burn rates are those of the SRE workbook (Google, 2018), chapter 5, "Alerting on SLOs", table 5-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.objective import EVERY, FASTEST, PERIOD, WINDOWS, Objective, Window
from monitoring.rule import Alert, Case, Group, Recording, Sample, Severity

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SLOW: tuple[Window, ...] = ("1d", "3d")
"""Windows that are evaluated less often, since each evaluation reads many samples."""
LAG = "15s"
"""Age of the samples that are counted."""
FEWEST_S = 20
"""Shortest window, in seconds: a rate needs a few samples, and the local stack scrapes every 5 seconds."""
FEW = 5
"""Fewest bad requests in the long window for an alert: of three requests a day, one bad one would be a third."""

REQUESTS = 100_000
"""Requests in one interval of a test's counters."""


@dataclass(frozen=True, slots=True)
class BurnRate:
    """A burn rate to alert on: over the window `long`, and over `short` to see that it continues.

    At a rate of 1 the error budget lasts exactly the 30 days of the objective.
    """

    rate: float
    long: Window
    short: Window
    severity: Severity


BURN_RATES = (
    BurnRate(FASTEST, "1h", "5m", "page"),
    BurnRate(6, "6h", "30m", "page"),
    BurnRate(3, "1d", "2h", "ticket"),
    BurnRate(1, "3d", "6h", "ticket"),
)


@dataclass(frozen=True, slots=True)
class Clock:
    """Durations for rules, divided by `scale`: 60 turns an hour into a minute, for tests of a running stack."""

    scale: float = 1

    def seconds(self, duration: str, least: int = FEWEST_S) -> int:
        """Returns a duration such as `5m` in seconds, scaled, and at least `least`."""
        return max(least, round(int(duration[:-1]) * SECONDS[duration[-1]] / self.scale))

    def __call__(self, duration: str, least: int = FEWEST_S) -> str:
        """Returns a duration such as `5m`, scaled, in the largest unit of which it is a multiple."""
        seconds = self.seconds(duration, least)
        unit = next(unit for unit in "dhms" if seconds % SECONDS[unit] == 0)
        return f"{seconds // SECONDS[unit]}{unit}"


def groups(objective: Objective, burns: Sequence[BurnRate] = BURN_RATES, scale: float = 1) -> tuple[Group, Group]:
    """Returns the rules of an objective: one group that is evaluated often, and one for windows of days."""
    clock = Clock(scale)
    every, slowly = clock(EVERY, 5), clock("2m", 5)
    name = objective.name.replace("_", "-")
    fast = [*_counts(objective, clock), *(_ratio(objective, w, clock) for w in WINDOWS if w not in SLOW)]
    slow = [*(_ratio(objective, window, clock) for window in SLOW), _budget_left(objective, clock)]
    pages, tickets = ([b for b in burns if b.severity == severity] for severity in ("page", "ticket"))
    return (
        Group(f"objective-{name}", [*fast, *_alert(objective, pages, clock)], every),
        Group(f"objective-{name}-slow", [*slow, *_alert(objective, tickets, clock)], slowly),
    )


def _counts(o: Objective, clock: Clock) -> list[Recording]:
    """Returns the numbers of all and of bad requests between two evaluations, whose sums over a window are exact.

    Rates would not be: each is extrapolated, more for one counter than for another, so that some requests would be bad
    where none is; and a request would count only in part until the whole window of the rate has passed.
    """
    total, good = _count(o, o.total, clock), _count(o, o.good, clock)
    recorded = f"sum{_by_clause(o)} ({o.requests})"  # without the label of the stack, which recorded series have
    # Before the first good request, its series does not exist.
    bad = f"clamp_min({recorded} - ({good} or {recorded} * 0), 0)"
    every = f"in {EVERY}"
    return [
        Recording(o.requests, total, "1", o.labels, f"Requests {every} that count for the objective {o.name}."),
        Recording(o.errors, bad, "1", o.labels, f"Requests {every} that miss the objective {o.name}."),
    ]


def _count(o: Objective, counters: Sequence[str], clock: Clock) -> str:
    # Of a moment ago: all of its scrapes are stored by then, so that two counters are read as of the same scrapes.
    lag, every = (clock.seconds(duration, 5) for duration in (LAG, EVERY))
    counted = (f"clamp_min({one} offset {lag}s - {one} offset {lag + every}s, 0)" for one in counters)
    return f"sum{_by_clause(o)} ({' or '.join(counted)})"


def _by_clause(o: Objective) -> str:
    return f" by ({', '.join(o.labels)})" if o.labels else ""


def _ratio(o: Objective, window: Window, clock: Clock) -> Recording:
    """Returns the share of bad requests: of sums, not a mean of ratios, so that each request counts the same.

    Without requests there is no sample, and so no alert.
    """
    help = f"Share of requests that miss the objective {o.name}, over {window}."
    return Recording(o.ratio(window), _share(o, clock(window)), "ratio", o.labels, help)


def _share(o: Objective, window: str) -> str:
    return f"sum_over_time({o.errors}[{window}]) / (sum_over_time({o.requests}[{window}]) > 0)"


def _budget_left(o: Objective, clock: Clock) -> Recording:
    help = f"Share of the error budget of the objective {o.name} that is left, over {PERIOD}; below 0 it is exceeded."
    expression = f"1 - {_share(o, clock(PERIOD))} / {o.budget:g}"
    return Recording(o.budget_left, expression, "ratio", o.labels, help)


def _alert(o: Objective, burns: Sequence[BurnRate], clock: Clock) -> list[Alert]:
    if not burns:
        return []
    page = burns[0].severity == "page"
    named = ", ".join(f"{{{{ $labels.{label} }}}}" for label in o.labels)
    subject = f" for {named}" if named else ""
    pace = "fast" if page else "slowly"
    slowest = min(burn.rate for burn in burns)
    return [
        Alert(
            name=o.alert if page else o.slow_alert,
            expression="\nor\n".join(_burn_expression(o, burn, clock) for burn in burns),
            wait=clock("2m" if page else "5m", 0),
            severity=burns[0].severity,
            owner=o.owner,
            summary=f"The error budget of {o.name}{subject} burns {pace}:"
            " {{ $value | humanizePercentage }} of the requests miss the objective",
            dashboard="objectives",
            fires=_steady_traffic(o, 1.1 * slowest, clock),
            silent=_steady_traffic(o, 0.9 * slowest, clock),
            labels={"burn": "fast" if page else "slow"},
        )
    ]


def _burn_expression(o: Objective, burn: BurnRate, clock: Clock) -> str:
    limit = f"{burn.rate * o.budget:.6g}"
    many = f"sum_over_time({o.errors}[{clock(burn.long)}]) >= {FEW}"
    if o.fewest > FEW:
        many = f"sum_over_time({o.requests}[{clock(burn.long)}]) >= {o.fewest} and {many}"
    return f"({o.ratio(burn.long)} > {limit} and {o.ratio(burn.short)} > {limit} and {many})"


def _steady_traffic(o: Objective, rate: float, clock: Clock) -> Case:
    """Returns a case of steady traffic whose bad requests burn the budget at `rate`."""
    return Case(clock("10m"), samples(o, [(60, rate * o.budget)]))


def samples(o: Objective, phases: Sequence[tuple[int, float]]) -> list[Sample]:
    """Returns counters for promtool; each phase is a number of intervals and the share of bad requests in it."""
    counters: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for intervals, share in phases:
        bad = round(share * REQUESTS)
        for series, step in (
            (o.example.good, REQUESTS - bad),
            (o.example.bad, bad),
            (o.example.all, REQUESTS),
        ):
            count = counts.get(series, 0)
            counters.setdefault(series, []).append(f"{count}+{step}x{intervals - 1}")
            counts[series] = count + step * intervals
    return [Sample(series, " ".join(values)) for series, values in counters.items() if series]
