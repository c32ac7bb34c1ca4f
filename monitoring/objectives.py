"""What the stack promises, and the rules that watch it."""

from __future__ import annotations

import serving.telemetry.catalogue as c
from monitoring.burn import groups
from monitoring.objective import Example, Objective, counted, within
from monitoring.rule import Group, Owner

API = 'route=~"/v1/.+"'
"""The API, without its page and without the probes, which are many and go well."""
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
    """One of a histogram's times; `good` and `total` are matchers of those that count."""
    return Objective(
        name=name,
        help=help,
        owner=owner,
        good=(within(metric, seconds, good),),
        total=(counted(metric, total),),
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
        help="Requests to the API are answered, with no error of the stack and no refusal for lack of capacity.",
        owner="platform",
        good=(counted(c.REQUEST_SECONDS, f'{API}, outcome="ok"'),),
        total=(
            counted(c.REQUEST_SECONDS, f'{API}, outcome=~"ok|error"'),
            counted(c.ERRORS, f'{API}, code="overloaded"'),  # refused: their outcome is that of a caller's mistake
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
        "Streamed answers come at 10 tokens per second or more, which is faster than people read.",
        c.INTER_TOKEN_SECONDS,
        0.1,
        0.95,
        owner="models",
        labels=("model",),
    ),
    _latency(
        "end_to_end",
        "Answers of models are whole within 30 seconds.",
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
        help="Streams that began come to their end, unless their caller hangs up.",
        owner="models",
        good=(counted(c.STREAMS, 'outcome="ok"'),),
        total=(counted(c.STREAMS, 'outcome=~"ok|error"'),),
        objective=0.995,
        example=Example(
            good=_series(c.STREAMS.name, c.STREAMS), bad=_series(c.STREAMS.name, c.STREAMS, outcome="error")
        ),
        labels=("model",),
    ),
    _latency(
        "retrieval_latency",
        "Searches over a collection are done within half a second.",
        c.RETRIEVAL_SECONDS,
        0.5,
        0.99,
        owner="applications",
    ),
    _latency(
        "feedback_writes",
        "Ratings are stored, within half a second.",
        c.FEEDBACK_SECONDS,
        0.5,
        0.995,
        owner="platform",
        good='outcome="ok"',
        total='outcome=~"ok|error"',
    ),
)

GROUPS: tuple[Group, ...] = tuple(group for objective in OBJECTIVES for group in groups(objective))
