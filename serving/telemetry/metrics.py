"""The metric objects of this process, created from the catalogue.

At import it is decided whether values are in memory or, with `PROMETHEUS_MULTIPROC_DIR` set, in files that the node's
exporter reads: import this module only in processes that emit.
"""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, cast, overload

import prometheus_client.values
from prometheus_client import Counter, Gauge, Histogram

from serving.telemetry import catalogue as c
from serving.telemetry import holders, values
from serving.telemetry.failure_causes import FAILURE_CAUSES, FailureCause
from serving.telemetry.values import Value

if values.FOLDER is not None:
    HELD = holders.hold(Path(values.FOLDER))
prometheus_client.values.ValueClass = Value


class Count:
    """A counter with its labels. It is faster than the library's, which checks the labels at each call."""

    __slots__ = ("_value",)

    def __init__(self, value: Value) -> None:
        self._value = value

    def inc(self, amount: float = 1) -> None:
        """Adds `amount`."""
        if amount < 0:
            raise ValueError("a counter only grows")
        self._value.inc(amount)


class Observations:
    """A histogram with its labels. Like `Count`; its bucket is found by binary search."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, total: Value, buckets: Sequence[Value], bounds: Sequence[float]) -> None:
        self.total = total
        self.buckets = buckets
        self.bounds = bounds

    def observe(self, amount: float) -> None:
        """Adds `amount` to the sum, and one to its bucket."""
        observe(((self, amount),))


def observe(observed: Iterable[tuple[Observations, float]]) -> None:
    """Observes an amount in each of several histograms, which takes half the time of single calls."""
    values.observe([(h.total, h.buckets[bisect_left(h.bounds, amount)], amount) for h, amount in observed])


def _counter(m: c.Metric) -> Counter:
    return Counter(m.name, m.help, m.labels)


def _gauge(m: c.Metric) -> Gauge:
    """Returns a gauge of which each process has a part."""
    return Gauge(m.name, m.help, m.labels, multiprocess_mode="livesum")


def _shared(m: c.Metric) -> Gauge:
    """Returns a gauge of which all processes report the same value: the newest one counts."""
    return Gauge(m.name, m.help, m.labels, multiprocess_mode="livemostrecent")


def _histogram(m: c.Metric) -> Histogram:
    return Histogram(m.name, m.help, m.labels, buckets=m.buckets)


request_seconds = _histogram(c.REQUEST_SECONDS)
requests_started = _counter(c.REQUESTS_STARTED)
overhead_seconds = _histogram(c.OVERHEAD_SECONDS)
event_loop_lag_seconds = _histogram(c.EVENT_LOOP_LAG_SECONDS)
tenant_requests = _counter(c.TENANT_REQUESTS)
assistant_requests = _counter(c.ASSISTANT_REQUESTS)
stage_seconds = _histogram(c.STAGE_SECONDS)
ttft_seconds = _histogram(c.TTFT_SECONDS)
inter_token_seconds = _histogram(c.INTER_TOKEN_SECONDS)
judged_answers = _counter(c.JUDGED_ANSWERS)
prompt_tokens = _counter(c.PROMPT_TOKENS)
completion_tokens = _counter(c.COMPLETION_TOKENS)
cost = _counter(c.COST)
tenant_cost = _counter(c.TENANT_COST)
month_cost = _shared(c.MONTH_COST)
assistant_cost = _counter(c.ASSISTANT_COST)
waiting = _gauge(c.WAITING)
errors = _counter(c.ERRORS)
retrieval_seconds = _histogram(c.RETRIEVAL_SECONDS)
retrieval_score = _histogram(c.RETRIEVAL_SCORE)
retrieval_empty = _counter(c.RETRIEVAL_EMPTY)
unsupported = _counter(c.UNSUPPORTED)
strategy_steps = _counter(c.STRATEGY_STEPS)
guardrail = _counter(c.GUARDRAIL)
engine_up = _gauge(c.ENGINE_UP)
engine_slots = _gauge(c.ENGINE_SLOTS)
engine_leases = _gauge(c.ENGINE_LEASES)
engine_load_seconds = _shared(c.ENGINE_LOAD_SECONDS)
weights_bytes = _shared(c.WEIGHTS_BYTES)
weights_fetched_bytes = _shared(c.WEIGHTS_FETCHED_BYTES)
engine_replaced = _counter(c.ENGINE_REPLACED)
engine_failures = _counter(c.ENGINE_FAILURES)
engine_lease_seconds = _gauge(c.ENGINE_LEASE_SECONDS)
streams = _counter(c.STREAMS)
answers = _counter(c.ANSWERS)
spans_lost = _counter(c.SPANS_LOST)
stream_resumes = _counter(c.STREAM_RESUMES)
stream_buffer_bytes = _gauge(c.STREAM_BUFFER_BYTES)
jobs = _counter(c.JOBS)
chunks = _counter(c.CHUNKS)
reindexed_chunks = _counter(c.REINDEXED_CHUNKS)
reranks = _counter(c.RERANKS)
memory_dropped = _counter(c.MEMORY_DROPPED)
quota_refused = _counter(c.QUOTA_REFUSED)
quota_warnings = _counter(c.QUOTA_WARNINGS)
# Gateways report what they and the store last had: the largest value is the most recent.
quota_used = Gauge(c.QUOTA_USED.name, c.QUOTA_USED.help, c.QUOTA_USED.labels, multiprocess_mode="livemax")
feedback = _counter(c.FEEDBACK)
feedback_seconds = _histogram(c.FEEDBACK_SECONDS)
sandbox_runs = _counter(c.SANDBOX_RUNS)
tool_calls = _counter(c.TOOL_CALLS)
database_seconds = _histogram(c.DATABASE_SECONDS)
database_errors = _counter(c.DATABASE_ERRORS)
batch_lines = _counter(c.BATCH_LINES)
batch_lines_waiting = _shared(c.BATCH_LINES_WAITING)
batch_oldest_seconds = _shared(c.BATCH_OLDEST_SECONDS)
jobs_waiting = _shared(c.JOBS_WAITING)
job_oldest_seconds = _shared(c.JOB_OLDEST_SECONDS)
index_age_seconds = _shared(c.INDEX_AGE_SECONDS)
engine_expected = _shared(c.ENGINE_EXPECTED)
engine_price = _shared(c.ENGINE_PRICE)
engine_restarts = _counter(c.ENGINE_RESTARTS)
adapter_missing = _gauge(c.ADAPTER_MISSING)
engine_busy_seconds = _counter(c.ENGINE_BUSY_SECONDS)
engine_available_seconds = _counter(c.ENGINE_AVAILABLE_SECONDS)
deployed_hash = _shared(c.DEPLOYED_HASH)
releases = _counter(c.RELEASES)
release_share = _shared(c.RELEASE_SHARE)
release_harm = _shared(c.RELEASE_HARM)
release_ttft_seconds = _histogram(c.RELEASE_TTFT_SECONDS)
release_outcomes = _shared(c.RELEASE_OUTCOMES)
release_bad_outcomes = _shared(c.RELEASE_BAD_OUTCOMES)


@functools.cache
def in_flight() -> Gauge:
    """Created only by gateways: this series shows that there is one."""
    return _gauge(c.IN_FLIGHT)


@functools.cache
def disk_free_bytes() -> Gauge:
    """Created when it is first set: a gauge without labels exists from its creation, and 0 would be a full disk."""
    return _shared(c.DISK_FREE_BYTES)


@functools.cache
def disk_size_bytes() -> Gauge:
    """Like `disk_free_bytes`."""
    return _shared(c.DISK_SIZE_BYTES)


@functools.cache
def backup_age_seconds() -> Gauge:
    """Like `disk_free_bytes`: 0 would be a backup just now."""
    return _shared(c.BACKUP_AGE_SECONDS)


class _Child(Protocol):
    @overload
    def __call__(self, metric: Counter, /, *labels: str) -> Count: ...
    @overload
    def __call__(self, metric: Histogram, /, *labels: str) -> Observations: ...
    @overload
    def __call__(self, metric: Gauge, /, *labels: str) -> Gauge: ...


def _child(metric: Counter | Histogram | Gauge, *labels: str) -> Count | Observations | Gauge:
    labelled = metric.labels(*labels)
    if isinstance(labelled, Gauge):
        return labelled
    [family] = labelled.collect()
    if isinstance(labelled, Counter):
        return Count(values.sample_value(f"{family.name}_total", labels))
    buckets = f"{family.name}_bucket"
    bounds = [sample.labels["le"] for sample in family.samples if sample.name == buckets]
    return Observations(
        values.sample_value(f"{family.name}_sum", labels),
        [values.sample_value(buckets, (*labels, bound)) for bound in bounds],
        [float(bound) for bound in bounds],
    )


child = cast(_Child, functools.lru_cache(maxsize=4096)(_child))
"""Returns a metric with its labels, faster than `metric.labels(*labels)`; label sets are bounded."""


def judge(objective: c.JudgedObjective, model: str, length: c.AnswerLength, seconds: float, bound_s: float) -> None:
    """Counts an answer that took `seconds`, of which its model's objective allows `bound_s`."""
    child(judged_answers, model, objective, length, "yes" if seconds <= bound_s else "no").inc()


def count_failure(model: str, cause: FailureCause) -> None:
    """Counts a request that failed in the endpoint of a configured model."""
    child(engine_failures, model, cause).inc()


def introduce(models: Iterable[str], assistants: Iterable[str] = (), tools: Iterable[str] = ()) -> None:
    """Creates the series of every model, assistant and tool at zero.

    A series whose first sample is above zero hides its first requests from `rate` and `increase`.
    """
    for model in models:
        ttft_seconds.labels(model)
        inter_token_seconds.labels(model)
        for objective in c.JUDGED:
            for length, met in itertools.product(c.LENGTHS, ("yes", "no")):
                judged_answers.labels(model, objective, length, met)
        for route in ("/v1/chat/completions", "/v1/completions"):
            request_seconds.labels(route, model, "ok")
        for outcome in ("ok", "error", "cancelled"):
            streams.labels(model, outcome)
        for ending in ("completed", "length"):
            answers.labels(model, ending)
        for cause in FAILURE_CAUSES:
            engine_failures.labels(model, cause)
    for assistant in assistants:
        for outcome in c.OUTCOMES:
            assistant_requests.labels(assistant, outcome)
        retrieval_empty.labels(assistant)
    retrieval_empty.labels(c.OTHER)
    for tool in (*tools, c.OTHER):
        for outcome in c.TOOL_OUTCOMES:
            tool_calls.labels(tool, outcome)


def introduce_guardrails(found: Iterable[tuple[str, str, str]]) -> None:
    """Creates the series of guardrails: check, kind of text, and action of each."""
    for labels in found:
        guardrail.labels(*labels)


def introduce_releases(aliases: Iterable[str]) -> None:
    """Creates the series of managed aliases."""
    for alias in aliases:
        release_harm.labels(alias)
        for outcome, reason in c.RELEASE_ENDS:
            releases.labels(alias, outcome, reason)


def introduce_routes(routes: Iterable[str]) -> None:
    """Creates the series of a gateway's routes."""
    in_flight()
    for route in (*routes, c.UNKNOWN):
        requests_started.labels(route)
    for kind in c.RATED:
        for rating in c.RATINGS:
            feedback.labels(kind, rating)
    for outcome in ("ok", "error"):
        feedback_seconds.labels(outcome)
    for outcome in ("completed", "failed"):
        batch_lines.labels(outcome)
