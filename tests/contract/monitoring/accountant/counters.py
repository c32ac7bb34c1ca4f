"""What each counting series of the exporter must say of all requests that were sent, by its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

from tests.contract.monitoring.accountant import figures as f
from tests.contract.monitoring.accountant.client import FEEDBACK
from tests.contract.monitoring.accountant.ledger import Entry, Labels
from tests.contract.monitoring.accountant.truth import Book, labels_of
from tests.contract.monitoring.accountant.world import World

Counts = Mapping[Labels, float]
COUNTING = ("_total", "_count", "_outcomes", "_to_date_cost")
"""How the names of series end that count: some of them are gauges of what the store counted."""
ELSEWHERE = {
    "headrace_event_loop_lag_seconds_count": "time passes, whether requests come or not",
    "headrace_database_duration_seconds_count": "a transaction is a part of a request, or of work in the background",
}
"""Series that count what no request does, with the reason."""


def _stages(book: Book) -> Counts:
    lines = [(entry.route, book.log[entry.id]["stages"]) for entry in book.everything]
    found = Counter((("route", route), ("stage", stage)) for route, stages in lines for stage in stages)
    return {labels: float(count) for labels, count in found.items()}


def _judged(book: Book) -> Counts:
    """By model, objective and length: whether a busy host meets them, nobody knows."""
    tokens = f.tokens_seen(book)
    counted = {
        "time_to_first_token": tokens.sums(model=f.model, length=f.length),
        "inter_token_latency": tokens.sums(model=f.model, length=f.length),
        "end_to_end": f.generated(book).sums(model=f.model, length=f.length),
    }
    return {(*labels, ("objective", name)): n for name, found in counted.items() for labels, n in found.items()}


def _outcomes(book: Book) -> Counts:
    """What the release counted: gauges, but they must be exact."""
    both = f.released(book.everything)
    answers, rated = both.that(lambda e: bool(e.captured)), both.that(lambda e: bool(e.got))
    return answers.sums(alias=f.alias, model=f.model, kind=lambda e: "requests") | rated.sums(
        alias=f.alias, model=f.model, kind=lambda e: "ratings"
    )


def _guard(entry: Entry) -> str | None:
    return {"error": "errors", "length": "truncation"}.get(entry.captured)


def _bad_outcomes(book: Book) -> Counts:
    both = f.released(book.everything)
    down = both.where(got="down").sums(alias=f.alias, model=f.model, guard=lambda e: "ratings")
    return down | both.sums(alias=f.alias, model=f.model, guard=_guard)


def _quota(place: int) -> Callable[[Entry], str | None]:
    return lambda entry: entry.quota[place] if entry.quota else None


TRUTHS: Mapping[str, Callable[[Book], Counts]] = {
    "headrace_requests_started_total": lambda b: b.ledger.sums(route=f.route),
    "headrace_request_duration_seconds_count": lambda b: b.ledger.sums(route=f.route, model=f.model, outcome=f.outcome),
    "headrace_overhead_seconds_count": lambda b: b.ledger.sums(route=f.route),
    "headrace_tenant_requests_total": lambda b: b.ledger.sums(tenant=f.tenant, outcome=f.outcome),
    "headrace_assistant_requests_total": lambda b: b.ledger.sums(assistant=f.assistant, outcome=f.outcome),
    "headrace_stage_duration_seconds_count": _stages,
    "headrace_time_to_first_token_seconds_count": lambda b: f.tokens_seen(b).sums(model=f.model),
    "headrace_inter_token_seconds_count": lambda b: f.tokens_seen(b).sums(model=f.model),
    "headrace_judged_answers_total": _judged,
    "headrace_prompt_tokens_total": lambda b: b.ledger.sums(f.read, model=f.asked_model, tenant=f.tenant),
    "headrace_completion_tokens_total": lambda b: b.ledger.sums(f.written, model=f.asked_model, tenant=f.tenant),
    "headrace_cost_total": lambda b: b.ledger.sums(f.cost, model=f.priced_model, currency=f.currency),
    "headrace_tenant_cost_total": lambda b: b.ledger.sums(
        f.cost, tenant=f.tenant, model=f.priced_model, currency=f.currency
    ),
    "headrace_month_to_date_cost": lambda b: b.ledger.sums(f.cost, tenant=f.tenant, currency=f.currency),
    "headrace_assistant_cost_total": lambda b: b.ledger.sums(f.cost, assistant=f.assistant, currency=f.currency),
    "headrace_errors_total": lambda b: b.ledger.sums(route=f.route, code=f.code, outcome=f.outcome),
    "headrace_engine_failures_total": lambda b: b.ledger.sums(f.failures, model=f.model, cause=f.cause),
    "headrace_engine_replaced_total": lambda b: b.ledger.sums(f.retries, model=f.model),
    "headrace_streams_total": lambda b: f.streams(b).sums(model=f.model, outcome=f.outcome),
    "headrace_answers_total": lambda b: f.complete(b).sums(model=f.model, ending=lambda e: e.captured),
    "headrace_release_outcomes": _outcomes,
    "headrace_release_bad_outcomes": _bad_outcomes,
    "headrace_release_first_token_seconds_count": lambda b: f.released(f.tokens_seen(b)).sums(
        alias=f.alias, model=f.model
    ),
    "headrace_quota_refused_total": lambda b: b.ledger.sums(tenant=f.tenant, measure=_quota(0), window=_quota(1)),
    "headrace_quota_warnings_total": lambda b: {
        (("measure", measure), ("tenant", tenant), ("window", window)): float(count)
        for (tenant, measure, window), count in Counter(b.warnings).items()
    },
    "headrace_feedback_total": lambda b: b.ledger.sums(kind=f.target, rating=f.thumb),
    "headrace_feedback_duration_seconds_count": lambda b: b.ledger.where(route=FEEDBACK).sums(outcome=f.outcome),
}


def compared(world: World, book: Book) -> Iterator[tuple[str, list[str]]]:
    """Yields each counting series with what is wrong in it; `book` must be of everything that was sent.

    A series without a truth must not have counted anything.
    """
    shown = _shown(world.exported())
    for name in sorted(TRUTHS.keys() | {name for name, found in shown.items() if any(found.values())}):
        if name not in ELSEWHERE:
            yield name, _wrong(TRUTHS[name](book) if name in TRUTHS else {}, shown.get(name, {}))


def _shown(exposition: str) -> dict[str, dict[Labels, float]]:
    """Returns the counters of an exposition, and the numbers of observations of its histograms."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name.startswith("headrace_") and sample.name.endswith(COUNTING):
                found.setdefault(sample.name, {})[labels_of(sample.labels)] = sample.value
    return found


def _wrong(truth: Counts, shown: Counts) -> list[str]:
    """Returns where a series differs, summed over the labels that the truth does not have."""
    by = {name for labels in truth for name, _ in labels}
    sums: Counter[Labels] = Counter()
    for labels, value in shown.items():
        sums[tuple(each for each in labels if not truth or each[0] in by)] += value  # type: ignore[assignment]
    return [
        f"{dict(labels)}: counts {sums[labels]:g}, and {truth.get(labels, 0.0):g} is true"
        for labels in sorted(truth.keys() | sums.keys())
        if abs(sums[labels] - truth.get(labels, 0.0)) > 1e-9
    ]
