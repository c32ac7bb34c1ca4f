"""What each recorded series must show of a round of the script, by its name and its fixed labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import serving.telemetry.catalogue as c
from monitoring.objective import WINDOWS, Objective
from monitoring.objectives import OBJECTIVES
from monitoring.rule import Recording
from tests.contract.monitoring.accountant.client import CHAT, COMPLETIONS, RESPONSES
from tests.contract.monitoring.accountant.figures import (
    Figure,
    asked_model,
    between_tokens,
    durations,
    first_tokens,
    length,
    model,
    rated,
    read,
    streams,
    written,
)
from tests.contract.monitoring.accountant.ledger import Entry, Label, Labels, Ledger
from tests.contract.monitoring.accountant.stack import OBJECTIVES as OBJECTIVES_OF
from tests.contract.monitoring.accountant.truth import Book, Expected, Truth, Within, quantiles, rates

_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
GENERATING = (CHAT, COMPLETIONS, RESPONSES)


def key(rule: Recording) -> str:
    """Returns a rule's name with its fixed labels."""
    fixed = ",".join(f'{label}="{value}"' for label, value in rule.fixed.items())
    return f"{rule.name}{{{fixed}}}" if fixed else rule.name


def _gateway(name: str) -> str:
    return f'{name}{{engine="gateway"}}'


def _request_times(book: Book) -> list[tuple[Labels, Within]]:
    return list(durations(book, book.ledger, lambda entry: (("model", entry.served),)))


LLM: Mapping[str, Figure] = {
    _gateway("llm:requests:rate5m"): lambda b: rates(b, b.ledger, model=model),
    _gateway("llm:prompt_tokens:rate5m"): lambda b: rates(b, b.ledger, read, model=asked_model),
    _gateway("llm:generation_tokens:rate5m"): lambda b: rates(b, b.ledger, written, model=asked_model),
    **{
        _gateway(f"llm:{what}_seconds:{name}_5m"): (
            lambda b, q=q, metric=metric, of=of: quantiles(q, metric.buckets, of(b))  # type: ignore[misc]
        )
        for name, q in _QUANTILES.items()
        for what, metric, of in (
            ("ttft", c.TTFT_SECONDS, lambda b: first_tokens(b, by_model=True)),
            ("inter_token", c.INTER_TOKEN_SECONDS, between_tokens),
            ("request", c.REQUEST_SECONDS, _request_times),
        )
    },
}
"""What the gateway records of models, as rates over a window."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The requests that count for an objective, which of them miss it for certain, and which possibly."""

    all: Ledger
    bad: Ledger
    possibly: Ledger


def _answers(book: Book) -> Ledger:
    return book.ledger.that(lambda e: e.route in GENERATING and e.outcome == "ok" and e.asks_model)


def _certain(all: Ledger, bad: Callable[[Entry], bool]) -> Counted:
    return Counted(all, all.that(bad), all.that(bad))


def _timed(all: Ledger, seconds: Callable[[Entry], float], time: Callable[[Entry], Within]) -> Counted:
    """Counts by times that are known within bounds, and by what each entry may take."""
    return Counted(all, all.that(lambda e: time(e).least > seconds(e)), all.that(lambda e: time(e).most > seconds(e)))


def _api(book: Book) -> Ledger:
    return book.ledger.that(
        lambda e: e.route.startswith("/v1/") and (e.outcome in ("ok", "error") or e.code == "overloaded")
    )


def counted(objective: str, book: Book) -> Counted:
    """Returns what counts for an objective. Raises `KeyError` for one that nobody counts."""
    ended = streams(book).that(lambda e: e.outcome in ("ok", "error"))
    tokens = book.ledger.that(lambda e: e.first_token_s is not None)

    def logged(entry: Entry) -> Within:
        seconds = book.log[entry.id]["seconds"]
        return Within(seconds, seconds)

    whole: dict[str, Counted] = {
        "availability": _certain(_api(book), lambda e: e.outcome != "ok"),
        "time_to_first_token": _timed(
            tokens, lambda e: OBJECTIVES_OF[e.served].first_token_s, lambda e: Within(*(e.first_token_s or (0, 0)))
        ),
        "inter_token_latency": _timed(
            tokens, lambda e: OBJECTIVES_OF[e.served].between_tokens_s, lambda e: Within(0, e.ended_at - e.sent_at)
        ),
        "end_to_end": _timed(_answers(book), lambda e: OBJECTIVES_OF[e.served].end_to_end_s_of(length(e)), logged),
        "stream_completion": _certain(ended, lambda e: e.outcome == "error"),
        "feedback_writes": _timed(rated(book), lambda e: 0.5, lambda e: Within(0, logged(e).most)),
    }
    return whole[objective]


def _range(least: float, most: float) -> Expected:
    return least if least == most else Within(min(least, most), max(least, most))


def _by(objective: Objective) -> dict[str, Label]:
    of: dict[str, Label] = {"model": model, "length": length}
    return {label: of[label] for label in objective.labels}


def sums_of(objective: Objective, book: Book, *, bad: bool) -> Truth:
    """Returns the number of requests, or of bad ones."""
    of, by = counted(objective.name, book), _by(objective)
    if not bad:
        return of.all.sums(**by)
    certain, possible = of.bad.sums(**by), of.possibly.sums(**by)
    return {labels: _range(certain.get(labels, 0), value) for labels, value in possible.items()}


def shares_of(objective: Objective, book: Book, shown: Callable[[float], float] = lambda share: share) -> Truth:
    """Returns the share of bad requests, or what is `shown` of it."""
    of, by = counted(objective.name, book), _by(objective)
    certain, possible = of.bad.sums(**by), of.possibly.sums(**by)
    return {
        labels: _range(shown(certain.get(labels, 0) / total), shown(possible.get(labels, 0) / total))
        for labels, total in of.all.sums(**by).items()
    }


def left_of(objective: Objective, book: Book) -> Truth:
    """Returns what is left of the error budget."""
    return shares_of(objective, book, lambda share: 1 - share / objective.budget)


RATIOS = {objective.ratio(window): objective for objective in OBJECTIVES for window in WINDOWS}
LEFT = {objective.budget_left: objective for objective in OBJECTIVES}
SUMS = {
    **{objective.requests: (objective, False) for objective in OBJECTIVES},
    **{objective.errors: (objective, True) for objective in OBJECTIVES},
}
OF = RATIOS | LEFT | {name: objective for name, (objective, _) in SUMS.items()}
"""The objective of each of its recorded series."""
MINUTES_5_S = 300
DRAWN: Mapping[str, Callable[[Objective, Book], Truth]] = {
    "budget left": left_of,
    "burn rate": lambda objective, book: shares_of(objective, book, lambda share: share / objective.budget),
    "bad requests": shares_of,
    "requests": lambda objective, book: {
        labels: float(value) / MINUTES_5_S  # type: ignore[arg-type]
        for labels, value in sums_of(objective, book, bad=False).items()
    },
}
"""What the panels of an objective show, by the end of their titles."""
