"""The reference page of metrics: Headrace's own, recorded series, other programs', and OpenTelemetry's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from monitoring.external import EXTERNAL
from monitoring.groups import GROUPS
from monitoring.known_series import recorded_series
from monitoring.rule import Recording
from monitoring.series import HISTOGRAM, Series
from serving.telemetry.catalogue import CATALOGUE, STAGES, Metric

UNITS = {"1": "", "ratio": " as a ratio", "currency": " in the currency of the price", "celsius": " in degrees Celsius"}
PROGRAMS = {
    "vllm": "vLLM",
    "llama.cpp": "llama.cpp",
    "ray": "Ray",
    "haproxy": "HAProxy",
    "dcgm": "dcgm-exporter",
    "kubernetes": "kube-state-metrics and the kubelet",
    "cert-manager": "cert-manager",
    "node": "node exporter",
    "prometheus": "Prometheus itself",
}
GENAI: tuple[tuple[str, str, str, str], ...] = (
    (
        "gen_ai.client.operation.duration",
        "headrace_request_duration_seconds",
        "llm:request_seconds:p95_5m",
        "vllm:e2e_request_latency_seconds",
    ),
    ("gen_ai.server.request.duration", "", "llm:request_seconds:p95_5m", "vllm:e2e_request_latency_seconds"),
    (
        "gen_ai.client.operation.time_to_first_chunk",
        "headrace_time_to_first_token_seconds",
        "llm:ttft_seconds:p95_5m",
        "",
    ),
    ("gen_ai.server.time_to_first_token", "", "llm:ttft_seconds:p95_5m", "vllm:time_to_first_token_seconds"),
    (
        "gen_ai.client.operation.time_per_output_chunk",
        "headrace_inter_token_seconds",
        "llm:inter_token_seconds:p95_5m",
        "",
    ),
    (
        "gen_ai.server.time_per_output_token",
        "",
        "llm:inter_token_seconds:p95_5m",
        "vllm:request_time_per_output_token_seconds",
    ),
    (
        "gen_ai.client.token.usage (input)",
        "headrace_prompt_tokens_total",
        "llm:prompt_tokens:rate5m",
        "vllm:prompt_tokens_total",
    ),
    (
        "gen_ai.client.token.usage (output)",
        "headrace_completion_tokens_total",
        "llm:generation_tokens:rate5m",
        "vllm:generation_tokens_total",
    ),
)
"""OpenTelemetry's metrics, each with the closest metric of Headrace, recorded series, and metric of vLLM."""


def blocks(note: str) -> Iterator[str]:
    """Yields the blocks of the page; `note` marks it as generated."""
    yield "# Metrics reference"
    yield note
    yield (
        "This list is complete: Headrace cannot emit a metric that is not in it.\n"
        "Times are in seconds and sizes are in bytes.\n"
        "A histogram has three series in Prometheus, with the suffixes `_bucket`, `_sum` and `_count`."
    )
    yield "## Metrics that Headrace emits"
    yield "\n".join(f"- {_metric(m)}" for m in CATALOGUE)
    yield "## Stages of a request"
    yield (
        "The stages of a request, in order, are " + ", ".join(f"`{s}`" for s in STAGES) + ".\n"
        "The stage times of a request add up to its end-to-end time."
    )
    yield "## Buckets of the histograms"
    yield "\n".join(f"- The buckets of `{m.name}` end at {_numbers(m.buckets)}." for m in CATALOGUE if m.buckets)
    yield from _recorded()
    yield from _external()
    yield from _genai()


def _metric(metric: Metric) -> str:
    labels = _labels(metric.labels)
    return f"`{metric.name}` is a {metric.kind}{_unit(metric.unit)} ({labels}): {_text(metric.help)}."


def _text(help: str) -> str:
    """Returns a help text for use after a colon: its first word in lower case, except names such as `HTTP` or `Ray`."""
    word = help.split()[0]
    name = (not word[1:].islower() and len(word) > 1) or word.startswith("Ray")
    return (help if name else help[0].lower() + help[1:]).rstrip(".")


def _labels(labels: tuple[str, ...]) -> str:
    listed = ", ".join(f"`{label}`" for label in labels)
    return f"its labels are {listed}" if len(labels) > 1 else f"its label is {listed}" if labels else "it has no labels"


def _unit(unit: str) -> str:
    return UNITS.get(unit, f" in {unit}")


def _numbers(buckets: Iterable[float]) -> str:
    return ", ".join(f"{b:g}" for b in buckets)


def _recorded() -> Iterator[str]:
    yield "## Series that rules record"
    yield (
        "Prometheus records these series from others, so that dashboards and alerts are the same for every engine.\n"
        "The label `engine` of a series `llm:*` names the program that counted.\n"
        "The engine `gateway` is Headrace itself, `vllm` is vLLM's own endpoint, `ray-vllm` is vLLM through Ray, and "
        "`llama.cpp` is llama.cpp's server.\n"
        "The gateway counts the requests, tokens and times of every model: those of its own replicas, of remote "
        "endpoints and of KServe.\n"
        "The gateway counts slots, and the requests that run or wait in an engine, for its own replicas only; for "
        "remote endpoints and KServe, the servers' own metrics count them, if your Prometheus scrapes them.\n"
        "A gateway and an engine count the same requests: choose one value of `engine`, and do not add them up.\n"
        "The server of llama.cpp does not report its model: for a replica the exporter adds the label `model`, and for "
        "any other server `model` is its address.\n"
        "The label `source` of a series `gpu:*` is `dcgm` or `ray`.\n"
        "Rules of the chart also give each series the stack's label `namespace`."
    )
    engines: dict[str, list[str]] = {}
    for rule in (rule for group in GROUPS for rule in group.rules if isinstance(rule, Recording)):
        engines.setdefault(rule.name, []).extend(rule.fixed.values())
    yield "\n".join(f"- {_recording(one, engines[one.name])}" for one in recorded_series(GROUPS).values())


def _recording(series: Series, sources: list[str]) -> str:
    made = f" from {', '.join(f'`{s}`' for s in sources)}" if sources else ""
    labels = _labels(series.labels)
    return f"`{series.name}` is recorded{_unit(series.unit)}{made} ({labels}): {_text(series.help)}."


def _external() -> Iterator[str]:
    yield "## Metrics of other programs that rules and dashboards use"
    yield (
        "Prometheus of a local stack scrapes Headrace's exporter, Ray and HAProxy.\n"
        "On Kubernetes the chart's PodMonitor makes Prometheus scrape the exporter, Ray and HAProxy.\n"
        "Metrics of kube-state-metrics, the kubelet and node exporter come with kube-prometheus-stack, and those of "
        "dcgm-exporter with the GPU operator.\n"
        "An engine in a replica answers only its replica: with each health check, every ten seconds, the replica reads "
        "the engine's metrics, and the node's exporter passes the series `vllm:*` and `llamacpp:*` on, with the labels "
        "`model` and `pid` of the replica.\n"
        "The same series of other servers, such as KServe's, are there if your Prometheus scrapes those servers.\n"
        "When vLLM reports through Ray, the same metrics begin with `ray_vllm_` instead of `vllm:`."
    )
    for source, program in PROGRAMS.items():
        yield f"### {program}"
        series = [one for one in EXTERNAL.values() if one.source == source and not one.name.startswith("ray_vllm_")]
        yield "\n".join(f"- {line}" for line in dict.fromkeys(_other(one) for one in series))


def _other(series: Series) -> str:
    stem = next((series.name.removesuffix(e) for e in HISTOGRAM if series.name.endswith(e)), series.name)
    is_histogram = all(f"{stem}{ending}" in EXTERNAL for ending in HISTOGRAM)
    kind, name = ("histogram", stem) if is_histogram else (series.kind, series.name)
    unit = EXTERNAL[f"{stem}_sum"].unit if is_histogram else series.unit
    return f"`{name}` is a {kind}{_unit(unit)}: {_text(series.help)}."


def _genai() -> Iterator[str]:
    yield "## Equivalents of OpenTelemetry's GenAI metrics"
    yield (
        "OpenTelemetry's semantic conventions for generative AI define their own metrics.\n"
        "This table lists the closest equivalent of each.\n"
        "OpenTelemetry counts tokens in a histogram, and Headrace in counters."
    )
    rows = ["| OpenTelemetry | Headrace | Recorded | vLLM |", "| --- | --- | --- | --- |"]
    rows += [f"| {' | '.join(f'`{cell}`' if cell else '' for cell in row)} |" for row in GENAI]
    yield "\n".join(rows)
