"""What assistants do, and how well retrieval serves them."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target, Variable
from monitoring.dashboards.query import largest, mean, over, quantile, rate, series

ASSISTANT = 'assistant=~"$assistant"'


def dashboard() -> Dashboard:
    """Requests by assistant, retrieval and its quality, tools and guardrails."""
    return Dashboard(
        "assistants",
        "Headrace / Assistants and retrieval",
        "What assistants do, and how well retrieval serves them.",
        variables=(Variable("assistant", "Assistant", series("headrace_assistant_requests_total"), "assistant"),),
        rows=(
            Row("Assistants", _assistants()),
            Row("Retrieval", _retrieval()),
            Row("Ingestion", _ingestion()),
            Row("Strategies and tools", _tools()),
            Row("Guardrails", _guardrails()),
        ),
    )


def _assistants() -> tuple[Panel, ...]:
    requests = "headrace_assistant_requests_total"
    return (
        Panel(
            "Requests by assistant",
            "Requests to assistants that ended, per second.",
            "requests/s",
            (Target(rate(requests, "assistant", ASSISTANT), "{{assistant}}"),),
            stacked=True,
        ),
        Panel(
            "Requests by outcome",
            "Requests to assistants per second, by how they ended.",
            "requests/s",
            (Target(rate(requests, "assistant,outcome", ASSISTANT), "{{assistant}} {{outcome}}"),),
        ),
        Panel(
            "Cost per hour",
            "What the answers of each assistant cost in an hour at this rate, in the currency of the price.",
            "currency",
            (
                Target(
                    f"3600*{rate('headrace_assistant_cost_total', 'assistant,currency', ASSISTANT)}",
                    "{{assistant}} {{currency}}",
                ),
            ),
        ),
    )


def _retrieval() -> tuple[Panel, ...]:
    duration, score = "headrace_retrieval_duration_seconds", "headrace_retrieval_top_score"
    return (
        Panel(
            "Search time",
            "Time of one search over a collection, by mode.",
            "seconds",
            tuple(Target(quantile(q, duration, "mode"), f"{{{{mode}}}} p{q * 100:g}") for q in (0.5, 0.95)),
            steps=(Step(0.5, "yellow"), Step(2, "red")),
            width=6,
        ),
        Panel(
            "Best chunk score",
            "Cosine similarity between a question and the best chunk found. A fall tells of questions the documents "
            "do not answer, or of a changed embedder.",
            "ratio",
            (
                Target(mean(score), "mean"),
                Target(quantile(0.1, score), "p10"),
                Target(quantile(0.5, score), "p50"),
            ),
            width=6,
        ),
        Panel(
            "Searches without results",
            "Share of searches for an assistant that found nothing good enough; the assistant then says so.",
            "ratio",
            (Target(over(rate("headrace_retrieval_empty_total"), rate(f"{score}_count")), "empty"),),
            steps=(Step(0.2, "yellow"), Step(0.5, "red")),
            width=6,
        ),
        Panel(
            "Unsupported sentences",
            "Sentences of answers per second that no retrieved chunk supports.",
            "operations/s",
            (Target(rate("headrace_unsupported_sentences_total", "model"), "{{model}}"),),
            width=6,
        ),
    )


def _ingestion() -> tuple[Panel, ...]:
    return (
        Panel(
            "Index age",
            "Time since a collection was last made or found equal to its documents.",
            "seconds",
            (Target(largest("headrace_index_age_seconds", "collection"), "{{collection}}"),),
            width=6,
        ),
        Panel(
            "Chunks ingested",
            "Chunks that were embedded and indexed per second.",
            "operations/s",
            (Target(rate("headrace_ingested_chunks_total"), "chunks"),),
            width=6,
        ),
        Panel(
            "Oldest job",
            "Time that a job has waited, by kind: a document is not found until its job is done.",
            "seconds",
            (Target(largest("headrace_job_oldest_seconds", "kind"), "{{kind}}"),),
            steps=(Step(300, "yellow"), Step(1800, "red")),
            width=6,
        ),
        Panel(
            "Failed jobs",
            "Background jobs per second that failed for good, by kind.",
            "operations/s",
            (Target(rate("headrace_jobs_total", "kind", 'outcome="failed"'), "{{kind}}"),),
            width=6,
        ),
    )


def _tools() -> tuple[Panel, ...]:
    return (
        Panel(
            "Strategy steps",
            "Steps that strategies made per second, by strategy and kind.",
            "operations/s",
            (Target(rate("headrace_strategy_steps_total", "strategy,kind"), "{{strategy}} {{kind}}"),),
            width=6,
        ),
        Panel(
            "Tool calls",
            "Calls of tools per second, by tool and outcome.",
            "operations/s",
            (Target(rate("headrace_tool_calls_total", "tool,outcome"), "{{tool}} {{outcome}}"),),
            width=6,
        ),
        Panel(
            "Sandbox runs",
            "Programs that models wrote and the sandbox ran, per second: ok, error (of the program), limit or crashed.",
            "operations/s",
            (Target(rate("headrace_sandbox_runs_total", "outcome"), "{{outcome}}"),),
            width=6,
        ),
        Panel(
            "Facts dropped by memory",
            "Answers per second of models that were asked for facts and gave no JSON list.",
            "operations/s",
            (Target(rate("headrace_memory_dropped_total"), "dropped"),),
            width=6,
        ),
    )


def _guardrails() -> tuple[Panel, ...]:
    return (
        Panel(
            "Guardrail findings",
            "Findings per second by check and by what was done: block, redact or flag.",
            "operations/s",
            (Target(rate("headrace_guardrail_total", "check,action"), "{{check}} {{action}}"),),
            stacked=True,
            width=12,
        ),
        Panel(
            "Personal data found",
            "Findings of personal data per second, by where it stood: input, output or context.",
            "operations/s",
            (Target(rate("headrace_guardrail_total", "on", 'check="pii"'), "{{on}}"),),
            stacked=True,
            width=12,
        ),
    )
