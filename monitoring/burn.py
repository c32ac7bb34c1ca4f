"""Rules of an objective: how fast its budget burns, and alerts on that.

Windows and burn rates are those of the SRE workbook (Google, 2018), chapter 5, "Alerting on SLOs", table 5-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.objective import FASTEST, PERIOD, WINDOWS, Objective, Window
from monitoring.rule import Alert, Case, Group, Recording, Sample, Severity

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SLOW: tuple[Window, ...] = ("1d", "3d")
"""Windows that are too long to be read anew at each evaluation."""
FEWEST_S = 20
"""A rate needs a few samples, and the local stack scrapes every 5 seconds: no window is made shorter than this."""
FEW = 5
"""Bad requests in the long window below which nobody is told: at three requests a day, one is a third of them."""

REQUESTS = 100_000
"""In one interval of a test's counters."""


@dataclass(frozen=True, slots=True)
class Burn:
    """A budget that burns `rate` times as fast as would use it up in 30 days: over `long`, and `short` says still."""

    rate: float
    long: Window
    short: Window
    severity: Severity


BURNS = (
    Burn(FASTEST, "1h", "5m", "page"),
    Burn(6, "6h", "30m", "page"),
    Burn(3, "1d", "2h", "ticket"),
    Burn(1, "3d", "6h", "ticket"),
)


@dataclass(frozen=True, slots=True)
class Clock:
    """Durations as rules have them; a `scale` of 60 makes an hour a minute, for tests of a live stack."""

    scale: float = 1

    def seconds(self, duration: str, least: int = FEWEST_S) -> int:
        """How many seconds a duration such as `5m` lasts."""
        return max(least, round(int(duration[:-1]) * SECONDS[duration[-1]] / self.scale))

    def __call__(self, duration: str, least: int = FEWEST_S) -> str:
        """Returns a duration such as `5m`, scaled, in the largest unit that it is a multiple of."""
        seconds = self.seconds(duration, least)
        unit = next(unit for unit in "dhms" if seconds % SECONDS[unit] == 0)
        return f"{seconds // SECONDS[unit]}{unit}"


def groups(objective: Objective, burns: Sequence[Burn] = BURNS, scale: float = 1) -> tuple[Group, Group]:
    """Returns the rules of an objective: what is evaluated often, and what looks over days."""
    clock = Clock(scale)
    every, slowly = clock("30s", 5), clock("2m", 5)
    name = objective.name.replace("_", "-")
    fast = [*_rates(objective, clock), *(_ratio(objective, w, clock) for w in WINDOWS if w not in SLOW)]
    slow = [*(_ratio(objective, window, clock) for window in SLOW), _budget_left(objective, clock)]
    pages, tickets = ([b for b in burns if b.severity == severity] for severity in ("page", "ticket"))
    return (
        Group(f"objective-{name}", [*fast, *_alert(objective, pages, clock)], every),
        Group(f"objective-{name}-slow", [*slow, *_alert(objective, tickets, clock)], slowly),
    )


def _rates(o: Objective, clock: Clock) -> list[Recording]:
    total = _rate(o, o.total, clock)
    # Before the first good request there is no series of good ones. The total is the one that was just recorded: read
    # anew, a scrape may have come between, and over an hour more requests would be bad than there were.
    recorded = f"sum{_by(o)} ({o.requests})"  # without the label of its stack, which a recorded series has
    good = f"({_rate(o, o.good, clock)} or {recorded} * 0)"
    return [
        Recording(o.requests, total, "1", o.labels, f"Requests per second that count for the objective {o.name}."),
        Recording(
            o.errors,
            f"clamp_min({recorded} - {good}, 0)",
            "1",
            o.labels,
            f"Requests per second that miss the objective {o.name}.",
        ),
    ]


def _rate(o: Objective, counters: Sequence[str], clock: Clock) -> str:
    window = clock("5m")
    return f"sum{_by(o)} ({' or '.join(f'rate({counter}[{window}])' for counter in counters)})"


def _by(o: Objective) -> str:
    return f" by ({', '.join(o.labels)})" if o.labels else ""


def _ratio(o: Objective, window: Window, clock: Clock) -> Recording:
    """Sums of rates and not the mean of ratios: a quiet hour weighs what its requests weigh.

    Where nothing was asked there is no sample, and so no alert.
    """
    if clock.seconds(window) == clock.seconds("5m"):
        expression = f"{o.errors} / ({o.requests} > 0)"
    else:
        expression = _share(o, clock(window))
    help = f"Share of requests that miss the objective {o.name}, over {window}."
    return Recording(o.ratio(window), expression, "ratio", o.labels, help)


def _share(o: Objective, window: str) -> str:
    return f"sum_over_time({o.errors}[{window}]) / (sum_over_time({o.requests}[{window}]) > 0)"


def _budget_left(o: Objective, clock: Clock) -> Recording:
    help = f"Part of the budget of {PERIOD} that is left of the objective {o.name}; below 0 it is overdrawn."
    expression = f"1 - {_share(o, clock(PERIOD))} / {o.budget:g}"
    return Recording(o.budget_left, expression, "ratio", o.labels, help)


def _alert(o: Objective, burns: Sequence[Burn], clock: Clock) -> list[Alert]:
    if not burns:
        return []
    page = burns[0].severity == "page"
    whose = "".join(f" of {{{{ $labels.{label} }}}}" for label in o.labels)
    pace = "fast" if page else "slowly"
    slowest = min(burn.rate for burn in burns)
    return [
        Alert(
            name=o.alert if page else o.slow_alert,
            expression="\nor\n".join(_burning(o, burn, clock) for burn in burns),
            wait=clock("2m" if page else "5m", 0),
            severity=burns[0].severity,
            owner=o.owner,
            summary=f"The budget of {o.name}{whose} burns {pace}: {{{{ $value | humanizePercentage }}}} miss it",
            dashboard="objectives",
            fires=_seen(o, 1.1 * slowest, clock),
            silent=_seen(o, 0.9 * slowest, clock),
            labels={"burn": "fast" if page else "slow"},
        )
    ]


def _burning(o: Objective, burn: Burn, clock: Clock) -> str:
    limit = f"{burn.rate * o.budget:.6g}"
    # An evaluation stands for the time until the next one.
    many = f"sum_over_time({o.errors}[{clock(burn.long)}]) * {clock.seconds('30s', 5)} >= {FEW}"
    return f"({o.ratio(burn.long)} > {limit} and {o.ratio(burn.short)} > {limit} and {many})"


def _seen(o: Objective, rate: float, clock: Clock) -> Case:
    """Steady traffic, of which as much is bad as burns the budget at `rate`."""
    return Case(clock("10m"), samples(o, [(60, rate * o.budget)]))


def samples(o: Objective, phases: Sequence[tuple[int, float]]) -> list[Sample]:
    """Returns counters for promtool: for each phase, how many intervals it lasts and which share of requests is bad."""
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
