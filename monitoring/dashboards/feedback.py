"""What people and checks say of the answers."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target, Variable
from monitoring.dashboards.query import or_zero, over, quantile, rate, series

MODEL = 'model=~"$model"'


def dashboard() -> Dashboard:
    """Ratings, what answers lack by measures that need nobody, and the jobs that learn from both."""
    return Dashboard(
        "feedback",
        "Headrace / Feedback and evaluation",
        "What people and checks say of the answers.",
        variables=(Variable("model", "Model", series("headrace_engine_slots"), "model"),),
        rows=(Row("Ratings", _ratings()), Row("Measured on answers", _measures()), Row("Jobs", _jobs())),
    )


def _ratings() -> tuple[Panel, ...]:
    ratings = "headrace_feedback_total"
    good = over(rate(ratings, where='rating="up"'), rate(ratings, where='rating=~"up|down"'))
    return (
        Panel(
            "Share of thumbs up",
            "Of the ratings with a thumb, the share that points up. Empty while nobody rates.",
            "ratio",
            (Target(good, "up"),),
            "stat",
            (Step(0.6, "yellow"), Step(0.8, "green")),
            "red",
            width=6,
        ),
        Panel(
            "Ratings",
            "Ratings per second, by thumb; `none` has a comment or a label alone.",
            "operations/s",
            (Target(rate(ratings, "rating"), "{{rating}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Ratings by target",
            "Ratings per second, by whether an answer, a message or a whole conversation was rated.",
            "operations/s",
            (Target(rate(ratings, "kind"), "{{kind}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Share of answers rated",
            "Ratings as a share of requests that ended well.",
            "ratio",
            (
                Target(
                    over(rate(ratings), rate("headrace_request_duration_seconds_count", where='outcome="ok"')), "rated"
                ),
            ),
            width=6,
        ),
        Panel(
            "Time to store a rating",
            "Time of a write of feedback, p95, by outcome.",
            "seconds",
            (Target(quantile(0.95, "headrace_feedback_duration_seconds", "outcome"), "{{outcome}}"),),
            steps=(Step(0.25, "yellow"), Step(1, "red")),
            width=12,
        ),
        Panel(
            "Ratings not stored",
            "Writes of feedback per second that did not end well, by outcome.",
            "operations/s",
            (
                Target(
                    rate("headrace_feedback_duration_seconds_count", "outcome", 'outcome!="ok"'),
                    "{{outcome}}",
                ),
            ),
            width=12,
        ),
    )


def _measures() -> tuple[Panel, ...]:
    return (
        Panel(
            "Unsupported sentences per answer",
            "Sentences that no retrieved chunk supports, for each request that ended well, by model.",
            "1",
            (
                Target(
                    over(
                        rate("headrace_unsupported_sentences_total", "model", MODEL),
                        rate("headrace_request_duration_seconds_count", "model", f'{MODEL},outcome="ok"'),
                    ),
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Searches without results",
            "Searches for an assistant per second that found nothing good enough.",
            "operations/s",
            (Target(or_zero(rate("headrace_retrieval_empty_total")), "empty"),),
        ),
        Panel(
            "Answers cut off",
            "Share of requests whose caller hung up before the end: impatience, or answers nobody wants to read.",
            "ratio",
            (
                Target(
                    over(
                        rate("headrace_request_duration_seconds_count", "model", f'{MODEL},outcome="cancelled"'),
                        rate("headrace_request_duration_seconds_count", "model", MODEL),
                    ),
                    "{{model}}",
                ),
            ),
        ),
    )


def _jobs() -> tuple[Panel, ...]:
    return (
        Panel(
            "Finished jobs",
            "Background jobs per second, by kind and outcome: exports and evaluations are among them.",
            "operations/s",
            (Target(rate("headrace_jobs_total", "kind,outcome"), "{{kind}} {{outcome}}"),),
            width=24,
        ),
    )
