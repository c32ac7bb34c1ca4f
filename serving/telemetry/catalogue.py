"""The catalogue of all metrics that Headrace emits: other names can be neither emitted nor drawn.

Importing this module creates no metric; `serving.telemetry.metrics` does, in processes that emit. Label sets are
bounded: `model`, `alias`, `assistant`, `collection` and `tool` have only configured names (anything else is `other`),
and `tenant` is a label of a few counters and gauges only. `model` is always the configured model that served, whatever
alias, assistant or adapter was asked for, so that the gateway's and the engines' series have the same names; only
series of releases name what a release serves, which may be an adapter.
"""

from __future__ import annotations

from typing import Literal, get_args

from serving.core.answer_lengths import LENGTHS as LENGTHS
from serving.core.answer_lengths import AnswerLength as AnswerLength
from serving.core.answer_lengths import extent
from serving.telemetry.metric import SECONDS
from serving.telemetry.metric import Metric as Metric
from serving.telemetry.metric import Unit as Unit
from serving.telemetry.release_metrics import RELEASE_BAD_OUTCOMES as RELEASE_BAD_OUTCOMES
from serving.telemetry.release_metrics import RELEASE_ENDS as RELEASE_ENDS
from serving.telemetry.release_metrics import RELEASE_HARM as RELEASE_HARM
from serving.telemetry.release_metrics import RELEASE_METRICS
from serving.telemetry.release_metrics import RELEASE_OUTCOMES as RELEASE_OUTCOMES
from serving.telemetry.release_metrics import RELEASE_SHARE as RELEASE_SHARE
from serving.telemetry.release_metrics import RELEASE_TTFT_SECONDS as RELEASE_TTFT_SECONDS
from serving.telemetry.release_metrics import RELEASES as RELEASES

FINE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

STAGES = (
    "identify",
    "receive",
    "guard",
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
    "send",
)
"""Stages of a request, in order. Their times add up to the end-to-end time."""

ELSEWHERE = frozenset(
    {"receive", "guard", "retrieve", "queue", "memory", "reason", "first_token", "decode", "cite", "send"}
)
"""Stages in which a request waits for others: its caller, guardrails (some ask a model), a model, retrieval, tools."""

OUTCOMES = ("ok", "refused", "error", "cancelled")
"""Outcomes of a request. `refused` is the caller's fault (a 4xx), `error` is the stack's, `cancelled` a disconnect."""
TOOL_OUTCOMES = ("ok", "error", "timeout", "refused")
RATED = ("response", "message", "session")
RATINGS = ("up", "down", "none")

OTHER = "other"
"""Label value for names that are not configured."""

UNKNOWN = "unknown"
"""Label value for requests without a route."""

NO_MODEL = "none"
"""Label value of `model` for requests that ask no model, or fail before their model is known."""

UNASKED = "unasked"
"""Label value of `model` for answers to a model's or an assistant's callers that no model had to give."""

GENERATION_ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
"""Routes whose requests are answered by a model that generates."""

JudgedObjective = Literal["time_to_first_token", "inter_token_latency", "end_to_end"]
"""Objectives by which each answer is judged, within the times of its own model."""
JUDGED: tuple[JudgedObjective, ...] = get_args(JudgedObjective)

REQUEST_SECONDS = Metric(
    "headrace_request_duration_seconds",
    "histogram",
    "End-to-end time of a request, from its first byte in to its last byte out.",
    ("route", "model", "outcome"),
    SECONDS,
)
REQUESTS_STARTED = Metric(
    "headrace_requests_started_total",
    "counter",
    "Requests that began; headrace_request_duration_seconds counts those that have ended.",
    ("route",),
)
OVERHEAD_SECONDS = Metric(
    "headrace_overhead_seconds",
    "histogram",
    "Time of a request outside of its caller, guardrails, models, retrieval and tools.",
    ("route",),
    FINE_SECONDS,
)
EVENT_LOOP_LAG_SECONDS = Metric(
    "headrace_event_loop_lag_seconds",
    "histogram",
    "Lag of a gateway's or retrieval replica's event loop, sampled four times a second.",
    ("deployment",),
    SECONDS,
)
TENANT_REQUESTS = Metric(
    "headrace_tenant_requests_total", "counter", "Ended requests of identified callers.", ("tenant", "outcome")
)
ASSISTANT_REQUESTS = Metric(
    "headrace_assistant_requests_total", "counter", "Ended requests to assistants.", ("assistant", "outcome")
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
    "Time from a request's arrival to the model's first token.",
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
JUDGED_ANSWERS = Metric(
    "headrace_judged_answers_total",
    "counter",
    f"Answers of models, by objective, by length ({', '.join(f'{each}: {extent(each)}' for each in LENGTHS)}), and by "
    "whether each met (yes or no) the time that its model's objectives say.",
    ("model", "objective", "length", "met"),
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
    "Cost of answers of models with a price, in the currency of the price.",
    ("model", "currency"),
)
TENANT_COST = Metric(
    "headrace_tenant_cost_total",
    "counter",
    "Cost of a tenant's answers, by the model that served.",
    ("tenant", "model", "currency"),
)
MONTH_COST = Metric(
    "headrace_month_to_date_cost",
    "gauge",
    "Cost of a tenant's answers in this calendar month (UTC), as last read from the store.",
    ("tenant", "currency"),
)
ASSISTANT_COST = Metric(
    "headrace_assistant_cost_total", "counter", "Cost of an assistant's answers.", ("assistant", "currency")
)
IN_FLIGHT = Metric("headrace_requests_in_flight", "gauge", "Requests in progress.")
WAITING = Metric("headrace_requests_waiting", "gauge", "Requests waiting for admission.")
ERRORS = Metric(
    "headrace_errors_total",
    "counter",
    "Requests that ended in an error, by OpenAI error code, and whether the caller's (refused) or the stack's (error).",
    ("route", "code", "outcome"),
)
RETRIEVAL_SECONDS = Metric(
    "headrace_retrieval_duration_seconds",
    "histogram",
    "Duration of one search in a collection, in the retrieval replica.",
    ("mode",),
    FINE_SECONDS,
)
RETRIEVAL_SCORE = Metric(
    "headrace_retrieval_top_score",
    "histogram",
    "Cosine similarity between a question and the best chunk found.",
    (),
    SCORES,
)
RETRIEVAL_EMPTY = Metric(
    "headrace_retrieval_empty_total",
    "counter",
    "Searches for an assistant that found nothing relevant.",
    ("assistant",),
)
UNSUPPORTED = Metric(
    "headrace_unsupported_sentences_total",
    "counter",
    "Sentences of answers that no retrieved chunk supports.",
    ("model",),
)
STRATEGY_STEPS = Metric(
    "headrace_strategy_steps_total", "counter", "Steps of strategies, by kind.", ("strategy", "kind")
)
GUARDRAIL = Metric(
    "headrace_guardrail_total",
    "counter",
    "Findings of guardrails, by check, kind of text (input, output, context) and action.",
    ("check", "on", "action"),
)
ENGINE_UP = Metric("headrace_engine_up", "gauge", "Engine replicas that answer, by model.", ("model",))
ENGINE_SLOTS = Metric("headrace_engine_slots", "gauge", "Requests that the engines can decode at once.", ("model",))
ENGINE_LEASES = Metric(
    "headrace_engine_leases", "gauge", "Requests that hold a lease of an engine replica.", ("model",)
)
ENGINE_LOAD_SECONDS = Metric(
    "headrace_engine_load_seconds",
    "gauge",
    "Time that the most recently started engine took to load its model.",
    ("model",),
)
WEIGHTS_BYTES = Metric(
    "headrace_weights_bytes", "gauge", "Size of the weights that replicas of a model fetch.", ("model",)
)
WEIGHTS_FETCHED_BYTES = Metric(
    "headrace_weights_fetched_bytes", "gauge", "Bytes of the weights that the newest replica has.", ("model",)
)
ENGINE_REPLACED = Metric(
    "headrace_engine_replaced_total",
    "counter",
    "Requests moved to another engine replica, because theirs was lost before the first byte of its answer.",
    ("model",),
)
ENGINE_FAILURES = Metric(
    "headrace_engine_failures_total",
    "counter",
    "Requests that failed in a model's endpoint, by cause: throttled (429), unauthorized (401 or 403) and others.",
    ("model", "cause"),
)
ENGINE_LEASE_SECONDS = Metric(
    "headrace_engine_lease_seconds", "gauge", "Mean time of a replica's last twenty leases.", ("model", "replica")
)
STREAMS = Metric(
    "headrace_streams_total",
    "counter",
    "Ended event streams, by outcome; the model is none for readers of a resumable stream.",
    ("model", "outcome"),
)
ANSWERS = Metric(
    "headrace_answers_total",
    "counter",
    "Complete answers of models, by the ending of the first choice: completed, length, content_filter or tool_calls.",
    ("model", "ending"),
)
SPANS_LOST = Metric(
    "headrace_spans_lost_total", "counter", "Spans of traces that their receiver did not take, and that are dropped."
)
STREAM_RESUMES = Metric(
    "headrace_stream_resumes_total",
    "counter",
    "Requests to resume a stream, by whether this gateway or another one holds it, or it is lost.",
    ("outcome",),
)
STREAM_BUFFER_BYTES = Metric(
    "headrace_stream_buffer_bytes", "gauge", "Bytes of resumable streams in gateways' buffers."
)
JOBS = Metric("headrace_jobs_total", "counter", "Ended background jobs, by outcome.", ("kind", "outcome"))
REINDEXED_CHUNKS = Metric(
    "headrace_reindexed_chunks_total", "counter", "Chunks embedded again for another embedder's index."
)
RERANKS = Metric(
    "headrace_reranks_total", "counter", "Searches for which a reranker was used, by outcome.", ("outcome",)
)
CHUNKS = Metric("headrace_ingested_chunks_total", "counter", "Chunks embedded and indexed.")
MEMORY_DROPPED = Metric(
    "headrace_memory_dropped_total", "counter", "Answers of models that were asked for facts and returned no JSON list."
)
QUOTA_REFUSED = Metric(
    "headrace_quota_refused_total",
    "counter",
    "Requests rejected because a quota was exceeded.",
    ("tenant", "measure", "window"),
)
QUOTA_WARNINGS = Metric(
    "headrace_quota_warnings_total",
    "counter",
    "Answers with a warning that a day's or month's quota is nearly used up.",
    ("tenant", "measure", "window"),
)
QUOTA_USED = Metric(
    "headrace_quota_used_ratio",
    "gauge",
    "Largest used share of a day or month quota of a tenant, its users, keys and models, as last read.",
    ("tenant", "measure", "window"),
)
FEEDBACK = Metric(
    "headrace_feedback_total",
    "counter",
    "Accepted ratings, repeated ones included, by target and thumb.",
    ("kind", "rating"),
)
FEEDBACK_SECONDS = Metric(
    "headrace_feedback_duration_seconds", "histogram", "Time to store a rating.", ("outcome",), FINE_SECONDS
)
SANDBOX_RUNS = Metric(
    "headrace_sandbox_runs_total",
    "counter",
    "Programs by models that ran: ok, error, limit (of time, memory, recursion, output), crashed.",
    ("outcome",),
)
TOOL_CALLS = Metric(
    "headrace_tool_calls_total",
    "counter",
    "Tool calls by models: ok, error, timeout, or refused before the call.",
    ("tool", "outcome"),
)
DATABASE_SECONDS = Metric(
    "headrace_database_duration_seconds",
    "histogram",
    "Duration of one transaction, including its wait.",
    ("operation",),
    FINE_SECONDS,
)
DATABASE_ERRORS = Metric(
    "headrace_database_errors_total",
    "counter",
    "Transactions that failed because the database is unreachable, full or broken.",
)
JOBS_WAITING = Metric("headrace_jobs_waiting", "gauge", "Background jobs that are due and not running.", ("kind",))
JOB_OLDEST_SECONDS = Metric(
    "headrace_job_oldest_seconds",
    "gauge",
    "Time since the longest-waiting job was due; 0 when none waits.",
    ("kind",),
)
BATCH_LINES = Metric(
    "headrace_batch_lines_total", "counter", "Answered lines of batches, by success or error.", ("outcome",)
)
BATCH_LINES_WAITING = Metric("headrace_batch_lines_waiting", "gauge", "Lines of batches that have no answer yet.")
BATCH_OLDEST_SECONDS = Metric(
    "headrace_batch_oldest_seconds",
    "gauge",
    "Age of the oldest unfinished batch, which expires after a day; 0 when there is none.",
)
INDEX_AGE_SECONDS = Metric(
    "headrace_index_age_seconds",
    "gauge",
    "Time since a configured collection was last made or found equal to its documents, from its making where it never "
    "was; absent until there is one, 0 once there is none any more.",
    ("collection",),
)
DISK_FREE_BYTES = Metric(
    "headrace_disk_free_bytes", "gauge", "Free bytes of the data folder's disk; absent if data is in a bucket."
)
DISK_SIZE_BYTES = Metric(
    "headrace_disk_size_bytes", "gauge", "Size of the data folder's disk; absent when data is in a bucket."
)
BACKUP_AGE_SECONDS = Metric(
    "headrace_backup_age_seconds", "gauge", "Time since the newest backup was completed; absent before the first."
)
ENGINE_EXPECTED = Metric(
    "headrace_engine_expected",
    "gauge",
    "Configured engine replicas; the minimum for an autoscaled model.",
    ("model",),
)
ENGINE_RESTARTS = Metric(
    "headrace_engine_restarts_total",
    "counter",
    "Engines that exited or failed three health checks in a row in a live replica, and were then replaced.",
    ("model",),
)
ADAPTER_MISSING = Metric(
    "headrace_adapter_missing",
    "gauge",
    "Engine replicas that do not serve an adapter of their model: a configured one, or one of the model hub's.",
    ("model", "adapter"),
)
ENGINE_BUSY_SECONDS = Metric(
    "headrace_engine_busy_seconds_total", "counter", "Slot-seconds held by requests.", ("model",)
)
ENGINE_AVAILABLE_SECONDS = Metric(
    "headrace_engine_available_seconds_total", "counter", "Slot-seconds available in loaded engines.", ("model",)
)
ENGINE_PRICE = Metric(
    "headrace_engine_price",
    "gauge",
    "Price per hour of one replica, in the currency of the model's price.",
    ("model", "currency"),
)
DEPLOYED_HASH = Metric(
    "headrace_deployed_hash", "gauge", "Hash of what a gateway serves, by part: code or configuration.", ("part",)
)
_OWN = tuple(v for v in dict(globals()).values() if isinstance(v, Metric) and v not in RELEASE_METRICS)
CATALOGUE: tuple[Metric, ...] = (*_OWN, *RELEASE_METRICS)
