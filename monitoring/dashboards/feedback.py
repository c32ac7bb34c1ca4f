"""The dashboard of feedback and evaluation."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target
from monitoring.dashboards.query import largest, or_zero, quantile, quotient, rate, served_models, share
from monitoring.objectives import GENERATION

MODEL = 'model=~"$model"'
ASKED = f'{MODEL},model!="none"'


def dashboard() -> Dashboard:
    """Returns the dashboard: ratings by users, automatic measures of answers, releases, and background jobs."""
    return Dashboard(
        "feedback",
        "Headrace / Feedback and evaluation",
        "Ratings by users, automatic measures of answers, releases, and background jobs.",
        variables=(served_models(),),
        rows=(
            Row("Ratings", _ratings()),
            Row("Measured on answers", _measures()),
            Row("Releases", _releases()),
            Row("Canary against base", _sides()),
            Row("Jobs", _jobs()),
        ),
    )


def _ratings() -> tuple[Panel, ...]:
    ratings = "headrace_feedback_total"
    good = quotient(rate(ratings, where='rating="up"'), rate(ratings, where='rating=~"up|down"'))
    return (
        Panel(
            "Share of thumbs up",
            "Share of thumbs up among ratings with a thumb. Empty while nobody rates.",
            "ratio",
            (Target(good, "up"),),
            "stat",
            (Step(0.6, "yellow"), Step(0.8, "green")),
            "red",
            width=6,
        ),
        Panel(
            "Ratings",
            "Ratings per second, by thumb; `none` has only a comment or a label.",
            "operations/s",
            (Target(rate(ratings, "rating"), "{{rating}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Ratings by target",
            "Ratings per second, by target: an answer, a message or a whole conversation.",
            "operations/s",
            (Target(rate(ratings, "kind"), "{{kind}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Share of answers rated",
            "Ratings as a share of the answers of models and assistants. Embeddings are none: nobody can rate them.",
            "ratio",
            (
                Target(
                    quotient(
                        rate(ratings),
                        rate(
                            "headrace_request_duration_seconds_count",
                            where=f'{GENERATION},model!="none",outcome="ok"',
                        ),
                    ),
                    "rated",
                ),
            ),
            width=6,
        ),
        Panel(
            "Time to store a rating",
            "Duration of a write of feedback, p95, by outcome.",
            "seconds",
            (Target(quantile(0.95, "headrace_feedback_duration_seconds", "outcome"), "{{outcome}}"),),
            steps=(Step(0.25, "yellow"), Step(1, "red")),
            width=12,
        ),
        Panel(
            "Ratings not stored",
            "Unsuccessful writes of feedback per second, by outcome.",
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
            "Sentences that no retrieved chunk supports, per successful request, by model.",
            "1",
            (
                Target(
                    share(
                        rate("headrace_unsupported_sentences_total", "model", MODEL),
                        rate("headrace_request_duration_seconds_count", "model", f'{ASKED},outcome="ok"'),
                    ),
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Searches without results",
            "Assistants' searches per second that found no good enough chunk.",
            "operations/s",
            (Target(or_zero(rate("headrace_retrieval_empty_total")), "empty"),),
        ),
        Panel(
            "Answers cut off",
            "Share of requests that their caller cancelled: from impatience, or because the answer was useless.",
            "ratio",
            (
                Target(
                    share(
                        rate("headrace_request_duration_seconds_count", "model", f'{ASKED},outcome="cancelled"'),
                        rate("headrace_request_duration_seconds_count", "model", ASKED),
                    ),
                    "{{model}}",
                ),
            ),
        ),
    )


def _releases() -> tuple[Panel, ...]:
    return (
        Panel(
            "Shares of managed aliases",
            "Share of the requests of each managed alias that a model gets.",
            "ratio",
            (Target(largest("headrace_release_share_ratio", "alias,model"), "{{alias}} {{model}}"),),
        ),
        Panel(
            "Evidence against canaries",
            "Evidence that the canary of an alias is worse than its base, as an e-value: at 100 it is rolled back.",
            "1",
            (Target(largest("headrace_release_harm", "alias"), "{{alias}}"),),
            steps=(Step(10, "yellow"), Step(100, "red")),
        ),
        Panel(
            "Ended releases",
            "Releases that ended per second, by alias, outcome and reason.",
            "operations/s",
            (Target(rate("headrace_releases_total", "alias,outcome,reason"), "{{alias}} {{outcome}} {{reason}}"),),
        ),
    )


def _sides() -> tuple[Panel, ...]:
    """Panels of the canary and the base of each release, side by side."""
    sides, legend = "alias,model", "{{alias}} {{model}}"

    def bad(guard: str, kind: str) -> str:
        seen = largest("headrace_release_outcomes", sides, f'kind="{kind}"')
        found = largest("headrace_release_bad_outcomes", sides, f'guard="{guard}"')
        return quotient(found, seen)

    return (
        Panel(
            "Time to first token, p95",
            "Time from the arrival of an alias's request to the first token of its stream, by the model or adapter "
            "that its release serves.",
            "seconds",
            (Target(quantile(0.95, "headrace_release_first_token_seconds", sides), legend),),
            width=6,
        ),
        Panel(
            "Failed answers",
            "Share of the answers of a canary and of its base that failed, since the release began; "
            "empty without this guard.",
            "ratio",
            (Target(bad("errors", "requests"), legend),),
            width=6,
        ),
        Panel(
            "Truncated answers",
            "Share of the answers of a canary and of its base that end at their length limit, since the release began; "
            "empty without this guard.",
            "ratio",
            (Target(bad("truncation", "requests"), legend),),
            width=6,
        ),
        Panel(
            "Bad ratings",
            "Share of the rated answers of a canary and of its base with a thumb down or a low score, since the "
            "release began; empty without this guard.",
            "ratio",
            (Target(bad("ratings", "ratings"), legend),),
            width=6,
        ),
    )


def _jobs() -> tuple[Panel, ...]:
    return (
        Panel(
            "Finished jobs",
            "Background jobs per second, by kind and outcome, exports and evaluations included.",
            "operations/s",
            (Target(rate("headrace_jobs_total", "kind,outcome"), "{{kind}} {{outcome}}"),),
            width=24,
        ),
    )
