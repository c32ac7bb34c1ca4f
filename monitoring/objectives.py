"""The stack's service level objectives, and the rules for them."""

from __future__ import annotations

import serving.telemetry.catalogue as c
from monitoring.burn_rate import groups
from monitoring.objective import Example, Objective, bucket_selector, counter_selector
from monitoring.rule import Group, Owner

API = 'route=~"/v1/.+"'
"""Routes of the API: neither pages nor probes, which are many and nearly always succeed."""
GENERATION = 'route=~"/v1/(chat/completions|completions|responses)"'
EXAMPLE = {"route": "/v1/chat/completions", "model": "m", "outcome": "ok", "mode": "hybrid"}


def _series(name: str, metric: c.Metric, **more: str) -> str:
    labels = {label: EXAMPLE[label] for label in metric.labels} | more
    inner = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inner}}}"


def _latency(
    name: str,
    help: str,
    metric: c.Metric,
    seconds: float,
    objective: float,
    *,
    owner: Owner,
    good: str = "",
    total: str = "",
    labels: tuple[str, ...] = (),
) -> Objective:
    """Returns an objective for the times in a histogram; `good` and `total` are matchers of its counters."""
    return Objective(
        name=name,
        help=help,
        owner=owner,
        good=(bucket_selector(metric, seconds, good),),
        total=(counter_selector(metric, total),),
        objective=objective,
        example=Example(
            good=_series(f"{metric.name}_bucket", metric, le=str(float(seconds))),
            all=_series(f"{metric.name}_count", metric),
        ),
        labels=labels,
        threshold_s=seconds,
    )


OBJECTIVES = (
    Objective(
        name="availability",
        help="Requests to the API are answered, without an error of the stack or a rejection for lack of capacity.",
        owner="platform",
        good=(counter_selector(c.REQUEST_SECONDS, f'{API}, outcome="ok"'),),
        total=(
            counter_selector(c.REQUEST_SECONDS, f'{API}, outcome=~"ok|error"'),
            counter_selector(
                c.ERRORS, f'{API}, code="overloaded"'
            ),  # refused: their outcome is that of a caller's mistake
        ),
        objective=0.995,
        example=Example(
            good=_series(f"{c.REQUEST_SECONDS.name}_count", c.REQUEST_SECONDS),
            bad=_series(f"{c.REQUEST_SECONDS.name}_count", c.REQUEST_SECONDS, outcome="error"),
        ),
    ),
    _latency(
        "time_to_first_token",
        "Streamed answers begin within 2.5 seconds.",
        c.TTFT_SECONDS,
        2.5,
        0.95,
        owner="models",
        labels=("model",),
    ),
    _latency(
        "inter_token_latency",
        "Streamed answers arrive at 10 tokens per second or more, which is faster than people read.",
        c.INTER_TOKEN_SECONDS,
        0.1,
        0.95,
        owner="models",
        labels=("model",),
    ),
    _latency(
        "end_to_end",
        "Answers of models are complete within 30 seconds.",
        c.REQUEST_SECONDS,
        30,
        0.95,
        owner="models",
        good=f'{GENERATION}, outcome="ok"',
        total=f'{GENERATION}, outcome="ok"',
        labels=("model",),
    ),
    Objective(
        name="stream_completion",
        help="Streams that have begun are completed, unless their caller cancels them.",
        owner="models",
        good=(counter_selector(c.STREAMS, 'outcome="ok"'),),
        total=(counter_selector(c.STREAMS, 'outcome=~"ok|error"'),),
        objective=0.995,
        example=Example(
            good=_series(c.STREAMS.name, c.STREAMS), bad=_series(c.STREAMS.name, c.STREAMS, outcome="error")
        ),
        labels=("model",),
    ),
    _latency(
        "retrieval_latency",
        "Searches in a collection take at most half a second.",
        c.RETRIEVAL_SECONDS,
        0.5,
        0.99,
        owner="applications",
    ),
    _latency(
        "feedback_writes",
        "Ratings are stored within half a second.",
        c.FEEDBACK_SECONDS,
        0.5,
        0.995,
        owner="platform",
        good='outcome="ok"',
        total='outcome=~"ok|error"',
    ),
)

GROUPS: tuple[Group, ...] = tuple(group for objective in OBJECTIVES for group in groups(objective))
