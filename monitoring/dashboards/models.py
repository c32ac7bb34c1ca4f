"""The dashboard of models and their engines."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target
from monitoring.dashboards.query import (
    buckets,
    largest,
    or_none,
    quantile,
    quotient,
    rate,
    recorded_expression,
    series,
    served_models,
    share,
    total,
)
from monitoring.objectives import GENERATION

MODEL = 'model=~"$model"'
ASKED = f'{MODEL},model!="none"'
"""Requests that asked a model: others poll, or fail before their model is known."""
NAMED = 'model_name=~"$model"'
"""vLLM's label with the model's name."""


def dashboard() -> Dashboard:
    """Returns the dashboard: speed, load and failures of each model whatever its engine, then engines' own metrics."""
    return Dashboard(
        "models",
        "Headrace / Models",
        "Speed, failures and load of each model, and its engines' own metrics.",
        variables=(served_models(),),
        rows=(
            Row("Speed", _speed()),
            Row("Distribution of times", _distributions()),
            Row("Failures", _failures()),
            Row("Engines", _engines()),
            Row("Engine metrics, where scraped", (*_engine_metrics(), *_vllm(), *_llamacpp())),
        ),
    )


def _speed() -> tuple[Panel, ...]:
    ttft, pace = "headrace_time_to_first_token_seconds", "headrace_inter_token_seconds"
    return (
        Panel(
            "Time to first token",
            "Time from a request's arrival to the model's first token.",
            "seconds",
            tuple(Target(quantile(q, ttft, "model", MODEL), f"{{{{model}}}} p{q * 100:g}") for q in (0.5, 0.95)),
        ),
        Panel(
            "Time between tokens",
            "Mean time between two tokens of a streamed answer. People read about 10 tokens per second.",
            "seconds",
            tuple(Target(quantile(q, pace, "model", MODEL), f"{{{{model}}}} p{q * 100:g}") for q in (0.5, 0.95)),
            steps=(Step(0.1, "yellow"), Step(0.25, "red")),
        ),
        Panel(
            "Request time, p95",
            "Time from a request's first byte in to its last byte out, by model.",
            "seconds",
            (Target(quantile(0.95, "headrace_request_duration_seconds", "model", ASKED), "{{model}}"),),
        ),
        Panel(
            "Tokens read",
            "Prompt tokens read by models per second.",
            "tokens/s",
            (Target(rate("headrace_prompt_tokens_total", "model", MODEL), "{{model}}"),),
            stacked=True,
        ),
        Panel(
            "Tokens written",
            "Tokens written by models per second.",
            "tokens/s",
            (Target(rate("headrace_completion_tokens_total", "model", MODEL), "{{model}}"),),
            stacked=True,
        ),
        Panel(
            "Failed requests",
            "Share of a model's requests that failed with an error of the stack.",
            "ratio",
            (
                Target(
                    share(
                        rate("headrace_request_duration_seconds_count", "model", f'{ASKED},outcome="error"'),
                        rate("headrace_request_duration_seconds_count", "model", ASKED),
                    ),
                    "{{model}}",
                ),
            ),
            steps=(Step(0.01, "yellow"), Step(0.05, "red")),
        ),
    )


def _distributions() -> tuple[Panel, ...]:
    answered = f'{ASKED},{GENERATION},outcome="ok"'
    return (
        Panel(
            "Distribution of the time to first token",
            "Streamed answers per second, by the time until the model's first token: the stronger a cell's colour, the "
            "more of them. Two strong bands are two kinds of requests, which a quantile would mix.",
            "seconds",
            (Target(buckets("headrace_time_to_first_token_seconds", MODEL), "{{le}}"),),
            "heatmap",
            width=12,
        ),
        Panel(
            "Distribution of the end-to-end time",
            "Answers per second, by the time from a request's first byte in to its last byte out: the stronger "
            "a cell's colour, the more of them.",
            "seconds",
            (Target(buckets("headrace_request_duration_seconds", answered), "{{le}}"),),
            "heatmap",
            width=12,
        ),
    )


def _failures() -> tuple[Panel, ...]:
    return (
        Panel(
            "Engine errors",
            "Requests per second that failed or timed out in an engine, by error code.",
            "requests/s",
            (Target(or_none(rate("headrace_errors_total", "code", 'code=~"engine_.*"'), "code"), "{{code}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Endpoint failures by cause",
            "Requests per second that failed in a model's endpoint: throttled (429), unauthorized (a rejected key), "
            "unreachable, timeout or error.",
            "requests/s",
            (Target(rate("headrace_engine_failures_total", "model,cause", MODEL), "{{model}} {{cause}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Broken streams",
            "Share of a model's streams that failed after their start.",
            "ratio",
            (
                Target(
                    share(
                        rate("headrace_streams_total", "model", f'{MODEL},outcome="error"'),
                        rate("headrace_streams_total", "model", MODEL),
                    ),
                    "{{model}}",
                ),
            ),
            steps=(Step(0.005, "yellow"), Step(0.05, "red")),
            width=6,
        ),
        Panel(
            "Truncated answers",
            "Share of a model's answers that end at their length limit, that of the request or of the context.",
            "ratio",
            (
                Target(
                    share(
                        rate("headrace_answers_total", "model", f'{MODEL},ending="length"'),
                        rate("headrace_answers_total", "model", MODEL),
                    ),
                    "{{model}}",
                ),
            ),
            steps=(Step(0.2, "yellow"), Step(0.5, "red")),
            width=6,
        ),
        Panel(
            "Late answers",
            "Share of a model's answers that were complete later than its own objective of end_to_end allows.",
            "ratio",
            (
                Target(
                    share(
                        rate("headrace_judged_answers_total", "model", f'{MODEL},objective="end_to_end",met="no"'),
                        rate("headrace_judged_answers_total", "model", f'{MODEL},objective="end_to_end"'),
                    ),
                    "{{model}}",
                ),
            ),
            steps=(Step(0.05, "yellow"), Step(0.3, "red")),
            width=6,
        ),
        Panel(
            "Requests moved to another replica",
            "Requests per second whose replica disappeared before the first byte of the answer.",
            "requests/s",
            (Target(or_none(rate("headrace_engine_replaced_total", "model", MODEL), "model"), "{{model}}"),),
            width=6,
        ),
    )


def _engines() -> tuple[Panel, ...]:
    used = quotient(total("headrace_engine_leases", "model", MODEL), total("headrace_engine_slots", "model", MODEL))
    busy = quotient(
        rate("headrace_engine_busy_seconds_total", "model", MODEL),
        rate("headrace_engine_available_seconds_total", "model", MODEL),
    )
    fetched = quotient(
        largest("headrace_weights_fetched_bytes", "model", MODEL), largest("headrace_weights_bytes", "model", MODEL)
    )
    return (
        Panel(
            "Replicas",
            "Engine replicas that answer, and the configured number of them.",
            "1",
            (
                Target(total("headrace_engine_up", "model", MODEL), "{{model}} up"),
                Target(largest("headrace_engine_expected", "model", MODEL), "{{model}} expected"),
            ),
        ),
        Panel(
            "Lease time by replica",
            "Mean time of the last leases of each replica. Replicas of one model get like requests: one that takes "
            "much longer is slow.",
            "seconds",
            (Target(largest("headrace_engine_lease_seconds", "model,replica", MODEL), "{{model}} {{replica}}"),),
        ),
        Panel(
            "Slots leased",
            "Share of the engines' slots that requests hold. At 1, further requests queue.",
            "ratio",
            (Target(used, "{{model}}"),),
            steps=(Step(0.8, "yellow"), Step(1, "red")),
        ),
        Panel(
            "Slots busy over time",
            "Slot-seconds leased as a share of those available. The rest is idle, and paid for.",
            "ratio",
            (Target(busy, "{{model}}"),),
        ),
        Panel(
            "Restarts",
            "Engine restarts per second. The replica's log has the reason.",
            "operations/s",
            (Target(rate("headrace_engine_restarts_total", "model", MODEL), "{{model}}"),),
        ),
        Panel(
            "Load time",
            "Time that the newest engine took to load its model, which is how long a restart takes.",
            "seconds",
            (Target(largest("headrace_engine_load_seconds", "model", MODEL), "{{model}}"),),
        ),
        Panel(
            "Weights fetched",
            "Share of a model's weights that its newest replica has fetched, for weights that come over the network.",
            "ratio",
            (Target(fetched, "{{model}}"),),
        ),
        Panel(
            "Adapters missing",
            "Replicas that do not serve an adapter of their model.",
            "1",
            (Target(total("headrace_adapter_missing", "model,adapter", MODEL), "{{model}} {{adapter}}"),),
            steps=(Step(1, "red"),),
        ),
        Panel(
            "Unsupported sentences",
            "Sentences in answers per second that no retrieved chunk supports, by model.",
            "operations/s",
            (Target(or_none(rate("headrace_unsupported_sentences_total", "model", MODEL), "model"), "{{model}}"),),
        ),
        Panel(
            "Resumable stream buffers",
            "Bytes of resumable streams that gateways hold.",
            "bytes",
            (Target(total("headrace_stream_buffer_bytes"), "kept"),),
        ),
    )


def _engine_metrics() -> tuple[Panel, ...]:
    """Panels of recorded series, which are the same for every engine."""
    where, legend = '{model=~"$model"}', "{{model}} {{engine}} {{namespace}}"
    return (
        Panel(
            "Requests in engines",
            "Requests that run and that wait in the engines, by the engines' own count.",
            "1",
            (
                Target(recorded_expression(f"llm:requests_running:sum{where}"), f"{legend} running"),
                Target(recorded_expression(f"llm:requests_waiting:sum{where}"), f"{legend} waiting"),
            ),
        ),
        Panel(
            "KV cache used",
            "Share of the key-value cache in use. Near 1, vLLM preempts requests and recomputes them.",
            "ratio",
            (Target(recorded_expression(f"llm:kv_cache_used:ratio{where}"), legend),),
            steps=(Step(0.8, "yellow"), Step(0.95, "red")),
        ),
        Panel(
            "Preemptions",
            "Requests per second that an engine preempted because its cache was full.",
            "requests/s",
            (Target(recorded_expression(f"llm:preemptions:rate5m{where}"), legend),),
        ),
    )


def _vllm() -> tuple[Panel, ...]:
    hits = quotient(
        rate("vllm:prefix_cache_hits_total", "model_name", NAMED),
        rate("vllm:prefix_cache_queries_total", "model_name", NAMED),
    )
    return (
        Panel(
            "Prefix cache hits in vLLM",
            "Share of prompt tokens found in the prefix cache and not recomputed.",
            "ratio",
            (Target(hits, "{{model_name}}"),),
            width=12,
        ),
        Panel(
            "Queue time in vLLM, p95",
            "Time that requests wait in vLLM before they run.",
            "seconds",
            (Target(quantile(0.95, "vllm:request_queue_time_seconds", "model_name", NAMED), "{{model_name}}"),),
            width=12,
        ),
    )


def _llamacpp() -> tuple[Panel, ...]:
    return (
        Panel(
            "Busy slots in llama.cpp",
            "Mean number of requests that llama.cpp decodes in one step.",
            "1",
            (Target(series("llamacpp:n_busy_slots_per_decode", MODEL), "{{model}} {{instance}} {{pid}}"),),
            width=12,
        ),
        Panel(
            "Tokens in llama.cpp",
            "Tokens read and written by llama.cpp per second, by its own count.",
            "tokens/s",
            (
                Target(rate("llamacpp:prompt_tokens_total", where=MODEL), "read"),
                Target(rate("llamacpp:tokens_predicted_total", where=MODEL), "written"),
            ),
            width=12,
        ),
    )
