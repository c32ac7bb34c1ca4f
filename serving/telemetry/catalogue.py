"""The one list of metrics that Headrace emits: a name that is not here cannot be emitted or drawn.

Importing this module creates no metric; `serving.telemetry.metrics` does that in the processes that emit.
Label sets are bounded: `model` holds configured names only (anything else is `other`), `tenant` stands on a
few counters only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
FINE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

STAGES = (
    "identify",
    "receive",
    "admit",
    "retrieve",
    "prompt",
    "queue",
    "memory",
    "reason",
    "first_token",
    "decode",
    "cite",
    "store",
    "respond",
)
"""Stages of one request, in order. Their times add up to the end-to-end time."""

Unit = Literal["seconds", "bytes", "ratio", "currency", "celsius", "watts", "1"]
UNITS: dict[str, Unit] = {"seconds": "seconds", "bytes": "bytes", "ratio": "ratio", "cost": "currency"}
"""Unit of a metric by the ending of its name."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `name` without the suffixes that Prometheus adds to a histogram, base units."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> Unit:
        """What a sample counts, as its name says by Prometheus's convention."""
        stem = self.name.removesuffix("_total")
        return next((unit for ending, unit in UNITS.items() if stem.endswith(f"_{ending}")), "1")


REQUEST_SECONDS = Metric(
    "headrace_request_duration_seconds",
    "histogram",
    "End-to-end time of a request, from its first byte in to its last byte out.",
    ("route", "model", "outcome"),
    SECONDS,
)
STAGE_SECONDS = Metric(
    "headrace_stage_duration_seconds",
    "histogram",
    "Time that a request spent in one stage; the stages of a request add up to its end-to-end time.",
    ("route", "stage"),
    FINE_SECONDS,
)
TTFT_SECONDS = Metric(
    "headrace_time_to_first_token_seconds",
    "histogram",
    "Time from a request's arrival to the first token that a model made for it.",
    ("model",),
    SECONDS,
)
INTER_TOKEN_SECONDS = Metric(
    "headrace_inter_token_seconds",
    "histogram",
    "Mean time between two tokens of one streamed answer, one sample per answer.",
    ("model",),
    FINE_SECONDS,
)
PROMPT_TOKENS = Metric(
    "headrace_prompt_tokens_total", "counter", "Prompt tokens that models read.", ("model", "tenant")
)
COMPLETION_TOKENS = Metric(
    "headrace_completion_tokens_total", "counter", "Tokens that models wrote.", ("model", "tenant")
)
COST = Metric(
    "headrace_cost_total",
    "counter",
    "What answers of models with a price cost, in the currency of the price.",
    ("model", "currency"),
)
IN_FLIGHT = Metric("headrace_requests_in_flight", "gauge", "Requests being worked on.")
WAITING = Metric("headrace_requests_waiting", "gauge", "Requests waiting for admission.")
ERRORS = Metric(
    "headrace_errors_total",
    "counter",
    "Requests that ended in an error, by OpenAI error code.",
    ("route", "code"),
)
RETRIEVAL_SECONDS = Metric(
    "headrace_retrieval_duration_seconds",
    "histogram",
    "Time of one search over a collection, in the retrieval replica.",
    ("mode",),
    FINE_SECONDS,
)
RETRIEVAL_SCORE = Metric(
    "headrace_retrieval_top_score",
    "histogram",
    "Cosine similarity between a question and the best chunk that was found for it.",
    (),
    SCORES,
)
RETRIEVAL_EMPTY = Metric(
    "headrace_retrieval_empty_total", "counter", "Searches for an assistant that found nothing good enough."
)
UNSUPPORTED = Metric(
    "headrace_unsupported_sentences_total",
    "counter",
    "Sentences of answers that no retrieved chunk supports.",
    ("model",),
)
STRATEGY_STEPS = Metric(
    "headrace_strategy_steps_total", "counter", "Steps that strategies made, by their kind.", ("strategy", "kind")
)
GUARDRAIL = Metric(
    "headrace_guardrail_total",
    "counter",
    "Findings of guardrails, by check, by what was checked (input, output, context) and by what was done.",
    ("check", "on", "action"),
)
ENGINE_UP = Metric("headrace_engine_up", "gauge", "Engine replicas that answer, by model.", ("model",))
ENGINE_SLOTS = Metric("headrace_engine_slots", "gauge", "Requests that the engines decode together.", ("model",))
ENGINE_LEASES = Metric("headrace_engine_leases", "gauge", "Requests that hold an engine replica.", ("model",))
ENGINE_LOAD_SECONDS = Metric(
    "headrace_engine_load_seconds", "gauge", "Time that the newest engine took to load its model.", ("model",)
)
ENGINE_REPLACED = Metric(
    "headrace_engine_replaced_total",
    "counter",
    "Requests that were given another engine replica, since theirs was gone before the first byte of its answer.",
    ("model",),
)
STREAM_RESUMES = Metric(
    "headrace_stream_resumes_total",
    "counter",
    "Connections that asked to go on with a stream: kept by this gateway, by another one, or lost.",
    ("outcome",),
)
STREAM_BUFFER_BYTES = Metric("headrace_stream_buffer_bytes", "gauge", "Bytes that gateways keep of resumable streams.")
JOBS = Metric("headrace_jobs_total", "counter", "Background jobs that ended, by outcome.", ("kind", "outcome"))
CHUNKS = Metric("headrace_ingested_chunks_total", "counter", "Chunks that were embedded and indexed.")
MEMORY_DROPPED = Metric(
    "headrace_memory_dropped_total", "counter", "Answers of models that were asked for facts and gave no JSON list."
)
QUOTA_REFUSED = Metric(
    "headrace_quota_refused_total",
    "counter",
    "Requests that were refused since too little was left of a quota.",
    ("tenant", "measure", "window"),
)
QUOTA_WARNINGS = Metric(
    "headrace_quota_warnings_total",
    "counter",
    "Answers that warned of a quota of a day or month that is nearly used.",
    ("tenant", "measure", "window"),
)

CATALOGUE: tuple[Metric, ...] = tuple(v for v in dict(globals()).values() if isinstance(v, Metric))
