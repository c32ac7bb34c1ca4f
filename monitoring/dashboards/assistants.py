"""The dashboard of assistants and retrieval."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target, Variable
from monitoring.dashboards.query import largest, mean, or_none, quantile, quotient, rate, series

ASSISTANT = 'assistant=~"$assistant"'


def dashboard() -> Dashboard:
    """Returns the dashboard: requests by assistant, retrieval and its quality, tools and guardrails."""
    return Dashboard(
        "assistants",
        "Headrace / Assistants and retrieval",
        "Requests to assistants, the quality of retrieval, ingestion, tools and guardrails.",
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
            "Completed requests to assistants per second.",
            "requests/s",
            (Target(rate(requests, "assistant", ASSISTANT), "{{assistant}}"),),
            stacked=True,
        ),
        Panel(
            "Requests by outcome",
            "Requests to assistants per second, by outcome.",
            "requests/s",
            (Target(rate(requests, "assistant,outcome", ASSISTANT), "{{assistant}} {{outcome}}"),),
        ),
        Panel(
            "Cost per hour",
            "Cost of each assistant's answers per hour at the current rate, in the currency of the price.",
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
    empty, asked = "headrace_retrieval_empty_total", rate("headrace_assistant_requests_total", "assistant", ASSISTANT)
    return (
        Panel(
            "Search time",
            "Duration of one search in a collection, by mode.",
            "seconds",
            tuple(Target(quantile(q, duration, "mode"), f"{{{{mode}}}} p{q * 100:g}") for q in (0.5, 0.95)),
            steps=(Step(0.5, "yellow"), Step(2, "red")),
            width=6,
        ),
        Panel(
            "Best chunk score",
            "Cosine similarity between a question and the best chunk found. It falls when the documents do not answer "
            "the questions, or when the embedder changed.",
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
            "Share of an assistant's requests for which no good enough chunk was found; the assistant then says so.",
            "ratio",
            (Target(quotient(rate(empty, "assistant", ASSISTANT), asked), "{{assistant}}"),),
            steps=(Step(0.2, "yellow"), Step(0.5, "red")),
            width=4,
        ),
        Panel(
            "Unsupported sentences",
            "Sentences in answers per second that no retrieved chunk supports.",
            "operations/s",
            (Target(or_none(rate("headrace_unsupported_sentences_total", "model"), "model"), "{{model}}"),),
            width=4,
        ),
        Panel(
            "Reranked searches",
            "Searches per second that a reranker was asked to order, by outcome; failed ones keep their order.",
            "operations/s",
            (Target(or_none(rate("headrace_reranks_total", "outcome"), "outcome"), "{{outcome}}"),),
            width=4,
        ),
    )


def _ingestion() -> tuple[Panel, ...]:
    return (
        Panel(
            "Index age",
            "Time since a collection was last built or verified against its documents.",
            "seconds",
            (Target(largest("headrace_index_age_seconds", "collection"), "{{collection}}"),),
            width=6,
        ),
        Panel(
            "Chunks ingested",
            "Chunks embedded and indexed per second, of documents and of indexes rebuilt for another embedder.",
            "operations/s",
            (
                Target(rate("headrace_ingested_chunks_total"), "of documents"),
                Target(rate("headrace_reindexed_chunks_total"), "of rebuilt indexes"),
            ),
            width=6,
        ),
        Panel(
            "Oldest job",
            "Waiting time of the oldest job, by kind: a document cannot be found until its job is done.",
            "seconds",
            (Target(largest("headrace_job_oldest_seconds", "kind"), "{{kind}}"),),
            steps=(Step(300, "yellow"), Step(1800, "red")),
            width=6,
        ),
        Panel(
            "Failed jobs",
            "Background jobs per second that failed permanently, by kind.",
            "operations/s",
            (Target(or_none(rate("headrace_jobs_total", "kind", 'outcome="failed"'), "kind"), "{{kind}}"),),
            width=6,
        ),
    )


def _tools() -> tuple[Panel, ...]:
    return (
        Panel(
            "Strategy steps",
            "Steps of strategies per second, by strategy and kind.",
            "operations/s",
            (
                Target(
                    or_none(rate("headrace_strategy_steps_total", "strategy,kind"), "strategy"),
                    "{{strategy}} {{kind}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Tool calls",
            "Tool calls per second, by tool and outcome.",
            "operations/s",
            (Target(rate("headrace_tool_calls_total", "tool,outcome"), "{{tool}} {{outcome}}"),),
            width=6,
        ),
        Panel(
            "Sandbox runs",
            "Programs by models that the sandbox ran, per second: ok, error (of the program), limit or crashed.",
            "operations/s",
            (Target(or_none(rate("headrace_sandbox_runs_total", "outcome"), "outcome"), "{{outcome}}"),),
            width=6,
        ),
        Panel(
            "Facts dropped by memory",
            "Answers per second in which a model that was asked for facts returned no JSON list.",
            "operations/s",
            (Target(rate("headrace_memory_dropped_total"), "dropped"),),
            width=6,
        ),
    )


def _guardrails() -> tuple[Panel, ...]:
    return (
        Panel(
            "Guardrail findings",
            "Findings per second, by check and action: block, redact or flag.",
            "operations/s",
            (Target(or_none(rate("headrace_guardrail_total", "check,action"), "check"), "{{check}} {{action}}"),),
            stacked=True,
            width=12,
        ),
        Panel(
            "Personal data found",
            "Findings of personal data per second, by place: input, output or context.",
            "operations/s",
            (Target(or_none(rate("headrace_guardrail_total", "on", 'check="pii"'), "on"), "{{on}}"),),
            stacked=True,
            width=12,
        ),
    )
