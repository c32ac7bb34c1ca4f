"""vLLM's own metrics, named as in its `vllm/v1/metrics/loggers.py`."""

from __future__ import annotations

from monitoring.external.program import program

MODEL = ("model_name", "engine")

SERIES = program(
    "vllm",
    counters={
        MODEL: (
            ("vllm:prompt_tokens_total", "Prompt tokens read."),
            ("vllm:generation_tokens_total", "Tokens written."),
            ("vllm:num_preemptions_total", "Requests preempted to free KV cache for others."),
            ("vllm:prefix_cache_queries_total", "Tokens looked up in the prefix cache."),
            ("vllm:prefix_cache_hits_total", "Tokens found in the prefix cache."),
        ),
        (*MODEL, "finished_reason"): (("vllm:request_success_total", "Finished requests, by reason."),),
    },
    gauges={
        MODEL: (
            ("vllm:num_requests_running", "Requests in the engine's batch."),
            ("vllm:num_requests_waiting", "Requests that wait for the engine."),
            ("vllm:kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1."),
        ),
    },
    histograms={
        MODEL: (
            ("vllm:time_to_first_token_seconds", "Time from a request's arrival to its first token."),
            ("vllm:inter_token_latency_seconds", "Time between two tokens."),
            ("vllm:request_time_per_output_token_seconds", "Mean time per token after the first."),
            ("vllm:e2e_request_latency_seconds", "Time that a request spent in the engine."),
            ("vllm:request_queue_time_seconds", "Time that a request waited in the queue."),
            ("vllm:request_prefill_time_seconds", "Duration of a request's prefill."),
            ("vllm:request_decode_time_seconds", "Duration of a request's decoding."),
        ),
    },
    units={"vllm:kv_cache_usage_perc": "ratio"},
)
