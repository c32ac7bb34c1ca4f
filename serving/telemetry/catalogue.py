"""The one list of metrics that Headrace emits: a name that is not here cannot be emitted or drawn.

Importing this module creates no metric; `serving.telemetry.metrics` does that in the processes that emit.
Label sets are bounded: `model`, `assistant`, `collection` and `tool` hold configured names only (anything else is
`other`), `tenant` stands on a few counters and gauges only.
"""

from __future__ import annotations

from serving.telemetry.metric import Metric as Metric
from serving.telemetry.metric import Unit as Unit

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
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
"""Stages of one request, in order. Their times add up to the end-to-end time."""

ELSEWHERE = frozenset(
    {"receive", "guard", "retrieve", "queue", "memory", "reason", "first_token", "decode", "cite", "send"}
)
"""Stages in which a request waits for others: its caller, guardrails (some ask a model), a model, retrieval, tools."""

OUTCOMES = ("ok", "refused", "error", "cancelled")
"""How a request ends. `refused` is the caller's doing (a 4xx), `error` is ours, `cancelled` a hang-up."""
TOOL_OUTCOMES = ("ok", "error", "timeout", "refused")
RATED = ("response", "message", "session")
RATINGS = ("up", "down", "none")

OTHER = "other"
"""Stands for a name that is not configured."""

UNKNOWN = "unknown"
"""The route of a request that none takes."""

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
    "Requests that began; those that have ended are counted by headrace_request_duration_seconds.",
    ("route",),
)
OVERHEAD_SECONDS = Metric(
    "headrace_overhead_seconds",
    "histogram",
    "Time of a request that was not its caller's, a guardrail's, a model's, retrieval's or a tool's.",
    ("route",),
    FINE_SECONDS,
)
EVENT_LOOP_LAG_SECONDS = Metric(
    "headrace_event_loop_lag_seconds",
    "histogram",
    "Time by which a gateway's or retrieval replica's event loop is late, looked at four times a second.",
    ("deployment",),
    SECONDS,
)
TENANT_REQUESTS = Metric(
    "headrace_tenant_requests_total", "counter", "Requests of known callers that ended.", ("tenant", "outcome")
)
ASSISTANT_REQUESTS = Metric(
    "headrace_assistant_requests_total", "counter", "Requests to assistants that ended.", ("assistant", "outcome")
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
TENANT_COST = Metric("headrace_tenant_cost_total", "counter", "What a tenant's answers cost.", ("tenant", "currency"))
ASSISTANT_COST = Metric(
    "headrace_assistant_cost_total", "counter", "What an assistant's answers cost.", ("assistant", "currency")
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
STREAMS = Metric(
    "headrace_streams_total",
    "counter",
    "Event streams that began, by how they ended; the model is none where a kept stream is read.",
    ("model", "outcome"),
)
STREAM_RESUMES = Metric(
    "headrace_stream_resumes_total",
    "counter",
    "Connections that asked to go on with a stream: kept by this gateway, by another one, or lost.",
    ("outcome",),
)
STREAM_BUFFER_BYTES = Metric("headrace_stream_buffer_bytes", "gauge", "Bytes that gateways keep of resumable streams.")
JOBS = Metric("headrace_jobs_total", "counter", "Background jobs that ended, by outcome.", ("kind", "outcome"))
REINDEXED_CHUNKS = Metric(
    "headrace_reindexed_chunks_total", "counter", "Chunks that were embedded anew for another embedder's index."
)
RERANKS = Metric(
    "headrace_reranks_total", "counter", "Searches that a reranker ordered anew, or was to, by outcome.", ("outcome",)
)
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
QUOTA_USED = Metric(
    "headrace_quota_used_ratio",
    "gauge",
    "Largest used part of a tenant's budgets of a day or month, also of its users, keys and models, as last seen.",
    ("tenant", "measure", "window"),
)
FEEDBACK = Metric(
    "headrace_feedback_total",
    "counter",
    "Ratings that were taken, also when sent again, by what is rated and by thumb.",
    ("kind", "rating"),
)
FEEDBACK_SECONDS = Metric(
    "headrace_feedback_duration_seconds", "histogram", "Time to store a rating.", ("outcome",), FINE_SECONDS
)
SANDBOX_RUNS = Metric(
    "headrace_sandbox_runs_total",
    "counter",
    "Programs that models wrote and that ran: ok, error, limit (of time, memory, recursion, output), crashed.",
    ("outcome",),
)
TOOL_CALLS = Metric(
    "headrace_tool_calls_total",
    "counter",
    "Calls of tools by models: ok, error, timeout, or refused before anything was called.",
    ("tool", "outcome"),
)
DATABASE_SECONDS = Metric(
    "headrace_database_duration_seconds",
    "histogram",
    "Time of one transaction, with the wait for its turn.",
    ("operation",),
    FINE_SECONDS,
)
DATABASE_ERRORS = Metric(
    "headrace_database_errors_total", "counter", "Transactions that failed since the database is gone, full or broken."
)
JOBS_WAITING = Metric("headrace_jobs_waiting", "gauge", "Background jobs that could run and do not.", ("kind",))
JOB_OLDEST_SECONDS = Metric(
    "headrace_job_oldest_seconds",
    "gauge",
    "Time since the job that waits longest could have run; 0 when none waits.",
    ("kind",),
)
BATCH_LINES = Metric(
    "headrace_batch_lines_total", "counter", "Lines of batches that were answered, well or with an error.", ("outcome",)
)
BATCH_LINES_WAITING = Metric(
    "headrace_batch_lines_waiting", "gauge", "Lines of batches that were read and have no answer yet."
)
BATCH_OLDEST_SECONDS = Metric(
    "headrace_batch_oldest_seconds",
    "gauge",
    "Age of the oldest batch that has not ended, which expires after a day; 0 when all have.",
)
INDEX_AGE_SECONDS = Metric(
    "headrace_index_age_seconds",
    "gauge",
    "Time since a configured collection was last made or found equal to its documents, from its making where it never "
    "was; absent until there is one, 0 once there is none any more.",
    ("collection",),
)
DISK_FREE_BYTES = Metric(
    "headrace_disk_free_bytes", "gauge", "Free bytes of the data folder's disk; absent when data is in a bucket."
)
DISK_SIZE_BYTES = Metric(
    "headrace_disk_size_bytes", "gauge", "Size of the data folder's disk; absent when data is in a bucket."
)
BACKUP_AGE_SECONDS = Metric(
    "headrace_backup_age_seconds", "gauge", "Time since the newest backup was whole; absent until there was one."
)
ENGINE_EXPECTED = Metric(
    "headrace_engine_expected",
    "gauge",
    "Engine replicas that are configured, of a model that scales by itself the fewest.",
    ("model",),
)
ENGINE_RESTARTS = Metric(
    "headrace_engine_restarts_total",
    "counter",
    "Engines that ended or failed three health checks in a row in a replica that lives, which Serve then replaces.",
    ("model",),
)
ADAPTER_MISSING = Metric(
    "headrace_adapter_missing",
    "gauge",
    "Engine replicas that do not serve a configured adapter of their model.",
    ("model", "adapter"),
)
ENGINE_BUSY_SECONDS = Metric(
    "headrace_engine_busy_seconds_total", "counter", "Seconds of slots that requests held.", ("model",)
)
ENGINE_AVAILABLE_SECONDS = Metric(
    "headrace_engine_available_seconds_total", "counter", "Seconds of slots that loaded engines had.", ("model",)
)
ENGINE_PRICE = Metric(
    "headrace_engine_price",
    "gauge",
    "What an hour of one replica costs, in the currency of the model's price.",
    ("model", "currency"),
)

CATALOGUE: tuple[Metric, ...] = tuple(v for v in dict(globals()).values() if isinstance(v, Metric))
