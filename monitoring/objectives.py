"""The stack's service level objectives, and the rules for them."""

from __future__ import annotations

import serving.telemetry.catalogue as c
from monitoring.burn_rate import groups
from monitoring.objective import Example, Objective, bucket_selector, counter_selector
from monitoring.rule import Group, Owner

API = 'route=~"/v1/.+"'
"""Routes of the API: neither pages nor probes, which are many and nearly always succeed."""
GENERATION = 'route=~"/v1/(chat/completions|completions|responses)"'
FEWEST_ANSWERS = 20
"""Fewest answers of a model in an alert's long window: of fewer, a single late one is more than the 5 % that may be."""
ASKING = 'route=~"/v1/(chat/completions|completions|responses|embeddings|rerank)"'
"""Routes whose requests ask a model: polling, lists and pages would hide them in a mean or a share."""
EXAMPLE = {"route": "/v1/chat/completions", "model": "m", "outcome": "ok", "mode": "hybrid", "length": "short"}


def _series(name: str, metric: c.Metric, **more: str) -> str:
    labels = {label: more.get(label) or EXAMPLE[label] for label in metric.labels} | more
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
        threshold_s=seconds,
    )


def _judged(
    name: c.JudgedObjective, help: str, setting: str, seconds: float, labels: tuple[str, ...] = ("model",)
) -> Objective:
    """Returns an objective by which gateways judge each answer, within the time that its own model's `setting` says.

    `seconds` is the time of models without that setting.
    """
    matcher = f'objective="{name}"'
    answers = {met: _series(c.JUDGED_ANSWERS.name, c.JUDGED_ANSWERS, objective=name, met=met) for met in ("yes", "no")}
    return Objective(
        name=name,
        help=f"{help}, or within the model's own `objectives.{setting}`.",
        owner="models",
        good=(counter_selector(c.JUDGED_ANSWERS, f'{matcher}, met="yes"'),),
        total=(counter_selector(c.JUDGED_ANSWERS, matcher),),
        objective=0.95,
        example=Example(good=answers["yes"], bad=answers["no"]),
        labels=labels,
        threshold_s=seconds,
        fewest=FEWEST_ANSWERS,
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
    _judged("time_to_first_token", "Streamed answers begin within 2.5 seconds", "first_token_s", 2.5),
    _judged(
        "inter_token_latency",
        "Streamed answers arrive at 10 tokens per second or more, which is faster than people read",
        "between_tokens_s",
        0.1,
    ),
    _judged(
        "end_to_end",
        "Answers of models, by length, are complete within 30 seconds",
        "end_to_end_s",
        30,
        ("model", "length"),
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
