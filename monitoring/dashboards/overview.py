"""The overview dashboard."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target
from monitoring.dashboards.query import (
    largest,
    or_none,
    or_zero,
    quantile,
    quotient,
    rate,
    recorded_expression,
    series,
    total,
)
from monitoring.objectives import ASKING

REQUESTS = "headrace_request_duration_seconds"
MODEL = 'model!="none"'
"""Requests to models: most others poll or load pages, and are fast."""
UNROUTED = f'{ASKING},model="none",outcome="error"'
"""Requests that failed before their model was known, for example because the database is unreachable."""
DAY_S = 86_400


def dashboard() -> Dashboard:
    """Returns the overview, the starting point for the other dashboards."""
    return Dashboard(
        "overview",
        "Headrace / Overview",
        "Whether the stack works, how fast it is, and what is wrong.",
        rows=(
            Row("Alerts", _alerts()),
            Row("Now", _now()),
            Row("Requests", _requests()),
            Row("Where the time goes", _time()),
            Row("State and background work", _state()),
            Row("Batches", _batches()),
        ),
    )


def _now() -> tuple[Panel, ...]:
    unrouted = or_zero(rate(f"{REQUESTS}_count", where=UNROUTED))
    errors = or_zero(rate(f"{REQUESTS}_count", where=f'{MODEL},outcome="error"'))
    asked = or_zero(rate(f"{REQUESTS}_count", where=MODEL))
    failed = or_zero(quotient(f"(({errors})+({unrouted}))", f"(({asked})+({unrouted}))"))
    return (
        Panel(
            "Requests",
            "Completed requests to models and assistants per second. Other requests are in the panel by route.",
            "requests/s",
            (Target(or_zero(rate(f"{REQUESTS}_count", where=MODEL)), "requests"),),
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Failed",
            "Share of requests to models that failed with an error of the stack. Rejected requests do not count.",
            "ratio",
            (Target(failed, "failed"),),
            "stat",
            (Step(0.01, "yellow"), Step(0.05, "red")),
            width=4,
            height=4,
        ),
        Panel(
            "Request time, p95",
            "Time from the first byte in to the last byte out; 95% of the requests to models took less.",
            "seconds",
            (Target(quantile(0.95, REQUESTS, where=MODEL), "p95"),),
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Time to first token, p95",
            "Time to the model's first token; 95% of streamed answers began earlier.",
            "seconds",
            (Target(quantile(0.95, "headrace_time_to_first_token_seconds"), "p95"),),
            "stat",
            (Step(2, "yellow"), Step(10, "red")),
            width=4,
            height=4,
        ),
        Panel(
            "Engines missing",
            "Configured engine replicas that do not answer.",
            "1",
            (Target(f"{total('headrace_engine_expected')}-{total('headrace_engine_up')}", "missing"),),
            "stat",
            (Step(1, "red"),),
            width=4,
            height=4,
        ),
        Panel(
            "Waiting",
            "Requests waiting for admission. If it stays above zero, the stack has too few engines.",
            "1",
            (Target(total("headrace_requests_waiting"), "waiting"),),
            "stat",
            (Step(1, "yellow"), Step(50, "red")),
            width=4,
            height=4,
        ),
    )


def _requests() -> tuple[Panel, ...]:
    return (
        Panel(
            "Requests by outcome",
            "Requests per second, by outcome: ok, refused (caller's mistake or a limit), error or cancelled.",
            "requests/s",
            (Target(rate(f"{REQUESTS}_count", "outcome"), "{{outcome}}"),),
            stacked=True,
        ),
        Panel(
            "Errors of the stack by code",
            "Requests per second that failed with an error of the stack, by OpenAI error code.",
            "requests/s",
            (Target(or_none(rate("headrace_errors_total", "code", 'outcome="error"'), "code"), "{{code}}"),),
            stacked=True,
        ),
        Panel(
            "Rejected requests by code",
            "Requests per second that were rejected: a mistake of the caller, or a limit.",
            "requests/s",
            (Target(or_none(rate("headrace_errors_total", "code", 'outcome="refused"'), "code"), "{{code}}"),),
            stacked=True,
        ),
        Panel(
            "Request time",
            "Time of requests to models, from the first byte in to the last byte out.",
            "seconds",
            tuple(Target(quantile(q, REQUESTS, where=MODEL), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
        ),
        Panel(
            "Requests by route",
            "Started requests per second, by route.",
            "requests/s",
            (Target(rate("headrace_requests_started_total", "route"), "{{route}}"),),
            stacked=True,
        ),
        Panel(
            "In flight and waiting",
            "Requests in progress, and requests waiting for admission.",
            "1",
            (
                Target(total("headrace_requests_in_flight"), "in flight"),
                Target(total("headrace_requests_waiting"), "waiting"),
            ),
        ),
        Panel(
            "Streams by outcome",
            "Ended streams per second, by outcome: ok, error or cancelled (by the caller).",
            "requests/s",
            (Target(or_none(rate("headrace_streams_total", "outcome"), "outcome"), "{{outcome}}"),),
            stacked=True,
            width=12,
        ),
        Panel(
            "Streams resumed",
            "Requests per second to resume a stream, by whether this gateway, another or none held it.",
            "requests/s",
            (Target(or_none(rate("headrace_stream_resumes_total", "outcome"), "outcome"), "{{outcome}}"),),
            width=12,
        ),
    )


def _time() -> tuple[Panel, ...]:
    spent = rate("headrace_stage_duration_seconds_sum", "stage", ASKING)
    # By all requests, not by those with the stage: only then do the stages add up to the mean time of a request.
    share = f"{spent}/on() group_left() ({rate(f'{REQUESTS}_count', where=ASKING)}>0)"
    return (
        Panel(
            "Time of a request by stage",
            "Time in each stage, as the mean over all requests to routes that ask a model, also those without the "
            "stage; the stages add up to the mean request time.",
            "seconds",
            (Target(share, "{{stage}}"),),
            stacked=True,
            width=16,
        ),
        Panel(
            "Overhead by route",
            "Time of a request outside the model, retrieval and tools, which Headrace itself takes, p95.",
            "seconds",
            (Target(quantile(0.95, "headrace_overhead_seconds", "route"), "{{route}}"),),
            steps=(Step(0.05, "yellow"), Step(0.25, "red")),
        ),
        Panel(
            "Event loops",
            "Delay of the event loops of gateways and retrieval, p99: all their requests wait as long.",
            "seconds",
            (Target(quantile(0.99, "headrace_event_loop_lag_seconds", "deployment"), "{{deployment}}"),),
            steps=(Step(0.1, "yellow"), Step(1, "red")),
            width=16,
        ),
        Panel(
            "Lost spans",
            "Spans of traces per second that their receiver did not take; 0 without traces.",
            "operations/s",
            (Target(or_zero(rate("headrace_spans_lost_total")), "lost"),),
        ),
    )


def _state() -> tuple[Panel, ...]:
    certificates = f"min by (namespace,name) ({series('certmanager_certificate_expiration_timestamp_seconds')})"
    free = quotient(largest("headrace_disk_free_bytes", "instance"), largest("headrace_disk_size_bytes", "instance"))
    return (
        Panel(
            "Database time",
            "Duration of a database read or write, p95.",
            "seconds",
            (Target(quantile(0.95, "headrace_database_duration_seconds", "operation"), "{{operation}}"),),
            steps=(Step(0.1, "yellow"), Step(1, "red")),
        ),
        Panel(
            "Database errors",
            "Statements per second that failed because the database rejected them or was unreachable.",
            "operations/s",
            (Target(or_zero(rate("headrace_database_errors_total")), "errors"),),
        ),
        Panel(
            "Disk free",
            "Share of the data folder's disk that is free.",
            "ratio",
            (Target(free, "{{instance}}"),),
            steps=(Step(0.1, "yellow"), Step(0.2, "green")),
            base="red",
        ),
        Panel(
            "Jobs waiting",
            "Background jobs that no worker has claimed yet, by kind.",
            "1",
            (Target(largest("headrace_jobs_waiting", "kind"), "{{kind}}"),),
        ),
        Panel(
            "Oldest job",
            "Age of the oldest waiting job, by kind. It grows while no worker claims jobs.",
            "seconds",
            (Target(largest("headrace_job_oldest_seconds", "kind"), "{{kind}}"),),
            steps=(Step(900, "yellow"), Step(3600, "red")),
        ),
        Panel(
            "Backup age",
            "Time since the last successful backup; empty if backups are off.",
            "seconds",
            (Target(f"min({series('headrace_backup_age_seconds')})", "backup"),),
            steps=(Step(1.5 * DAY_S, "yellow"), Step(3 * DAY_S, "red")),
        ),
        Panel(
            "Certificates expire in",
            "Time until a certificate of cert-manager expires. It is normally renewed long before.",
            "seconds",
            (Target(f"{certificates}-time()", "{{namespace}}/{{name}}"),),
            steps=(Step(2 * DAY_S, "orange"), Step(14 * DAY_S, "green")),
            base="red",
            width=12,
        ),
        Panel(
            "Failed Kubernetes jobs",
            "Jobs that failed permanently (backup, migration or ingestion), until somebody deletes them.",
            "1",
            (Target(largest("kube_job_status_failed", "namespace,job_name"), "{{namespace}}/{{job_name}}"),),
            steps=(Step(1, "red"),),
            width=12,
        ),
    )


def _batches() -> tuple[Panel, ...]:
    return (
        Panel(
            "Batch lines waiting",
            "Lines of batches that have no answer yet.",
            "1",
            (Target(f"max({series('headrace_batch_lines_waiting')})", "lines"),),
            width=8,
        ),
        Panel(
            "Batch lines answered",
            "Lines of batches that were answered per second, successfully or with an error.",
            "operations/s",
            (Target(or_none(rate("headrace_batch_lines_total", "outcome"), "outcome"), "{{outcome}}"),),
            width=8,
        ),
        Panel(
            "Oldest batch",
            "Age of the oldest batch that has not ended; a batch expires after a day.",
            "seconds",
            (Target(f"max({series('headrace_batch_oldest_seconds')})", "batch"),),
            steps=(Step(43200, "yellow"), Step(64800, "red")),
            width=8,
        ),
    )


def _alerts() -> tuple[Panel, ...]:
    firing = recorded_expression('ALERTS{alertstate="firing",severity=~"page|ticket"}')
    return (
        Panel(
            "Alerts to act on",
            "Firing alerts that wake somebody or wait for working hours. Their runbooks say what to do.",
            "1",
            (Target(or_zero(f"count({firing})"), "firing"),),
            "stat",
            (Step(1, "red"),),
            height=6,
        ),
        Panel(
            "Firing alerts",
            "Alerts that are firing now, what they are about, and the runbook that says what to do.",
            "1",
            (Target(recorded_expression('ALERTS{alertstate="firing",severity!="none"}'), "{{alertname}}"),),
            "table",
            width=16,
            height=6,
        ),
    )
