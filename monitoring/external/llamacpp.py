"""Metrics of llama.cpp's server at `/metrics`, with the labels that Headrace's exporter adds."""

from __future__ import annotations

from monitoring.external.program import program

LABELS = ("model", "pid")
"""Both are empty for servers that Prometheus scrapes directly."""

SERIES = program(
    "llama.cpp",
    counters={
        LABELS: (
            ("llamacpp:prompt_tokens_total", "Prompt tokens read, without cached ones."),
            ("llamacpp:prompt_tokens_cached_total", "Prompt tokens found in the cache."),
            ("llamacpp:prompt_seconds_total", "Time spent on prompts."),
            ("llamacpp:tokens_predicted_total", "Tokens written."),
            ("llamacpp:tokens_predicted_seconds_total", "Time spent on writing tokens."),
            ("llamacpp:n_decode_total", "Calls of llama_decode()."),
        ),
    },
    gauges={
        LABELS: (
            ("llamacpp:requests_processing", "Requests that hold a slot."),
            ("llamacpp:requests_deferred", "Requests that wait for a slot."),
            ("llamacpp:n_busy_slots_per_decode", "Mean number of busy slots in a call of llama_decode()."),
            ("llamacpp:prompt_tokens_seconds", "Mean prompt tokens per second since the engine was last asked."),
            ("llamacpp:predicted_tokens_seconds", "Mean tokens written per second since the engine was last asked."),
        ),
    },
    units={"llamacpp:prompt_tokens_seconds": "1", "llamacpp:predicted_tokens_seconds": "1"},
)
