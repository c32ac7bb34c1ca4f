"""The metrics of releases. Their label `model` is what a release serves: a configured model, or an adapter."""

from __future__ import annotations

from serving.telemetry.metric import SECONDS, Metric

RELEASE_ENDS = (
    ("promoted", "requested"),
    ("promoted", "no_worse"),
    ("rolled_back", "requested"),
    ("rolled_back", "guards"),
    ("rolled_back", "undecided"),
    ("rolled_back", "target_missing"),
    ("rolled_back", "not_managed"),
)
"""How releases end, and why."""

RELEASES = Metric(
    "headrace_releases_total",
    "counter",
    "Releases that ended: promoted or rolled_back, and why.",
    ("alias", "outcome", "reason"),
)
RELEASE_SHARE = Metric(
    "headrace_release_share_ratio",
    "gauge",
    "Share of a managed alias's requests that a model gets; 0 once it gets none.",
    ("alias", "model"),
)
RELEASE_HARM = Metric(
    "headrace_release_harm",
    "gauge",
    "Evidence that the canary of an alias is worse than its base, as an e-value: at 100 it is rolled back; 0 without a "
    "canary.",
    ("alias",),
)
RELEASE_TTFT_SECONDS = Metric(
    "headrace_release_first_token_seconds",
    "histogram",
    "Time to the first token of an alias's streams, by the model or adapter that its release serves.",
    ("alias", "model"),
    SECONDS,
)
RELEASE_OUTCOMES = Metric(
    "headrace_release_outcomes",
    "gauge",
    "Answers (requests) and rated answers (ratings) of a canary or its base that its release counted so far.",
    ("alias", "model", "kind"),
)
RELEASE_BAD_OUTCOMES = Metric(
    "headrace_release_bad_outcomes",
    "gauge",
    "Outcomes in headrace_release_outcomes that are bad, by the guard that found them so.",
    ("alias", "model", "guard"),
)

RELEASE_METRICS = (
    *(RELEASES, RELEASE_SHARE, RELEASE_HARM),
    *(RELEASE_TTFT_SECONDS, RELEASE_OUTCOMES, RELEASE_BAD_OUTCOMES),
)
