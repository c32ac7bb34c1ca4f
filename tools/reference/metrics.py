"""The reference page of metrics: ours, what rules record, what other programs emit, and OpenTelemetry's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from monitoring.external import EXTERNAL
from monitoring.groups import GROUPS
from monitoring.known import recorded
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
"""OpenTelemetry's metric, and what comes closest to it: ours, what is recorded, and vLLM's."""


def metrics(note: str) -> Iterator[str]:
    """The blocks of the page; `note` says that the page is generated."""
    yield "# Metrics reference"
    yield note
    yield (
        "Every metric that Headrace emits is in this list: a name that is not here cannot be emitted.\n"
        "Times are in seconds and sizes are in bytes.\n"
        "A histogram has three series in Prometheus, with the endings `_bucket`, `_sum` and `_count`."
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
    """A help text after a colon: its first word is small, unless it is a name such as `HTTP` or `Ray`."""
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
        "Prometheus records these series from others, so that dashboards and alerts say the same of every engine.\n"
        "The label `engine` of a series `llm:*` tells who counted.\n"
        "The engine `gateway` is Headrace itself, `vllm` and `ray-vllm` are vLLM by its own endpoint and through Ray, "
        "and `llama.cpp` is llama.cpp's server.\n"
        "The gateway counts the requests, tokens and times of every model: those of its own replicas, remote endpoints "
        "and models of KServe.\n"
        "It knows slots, and which requests run or wait in an engine, of its own replicas alone; for remote endpoints "
        "and KServe the server's own metrics tell that, where your Prometheus scrapes them.\n"
        "A gateway and an engine count the same requests: choose one engine, and do not add engines up.\n"
        "The server of llama.cpp does not name its model: of one in a replica the exporter says it, of any other the "
        "label `model` is its address.\n"
        "The label `source` of a series `gpu:*` is `dcgm` or `ray`.\n"
        "Rules of the chart give each series the label `namespace` of the stack too."
    )
    engines: dict[str, list[str]] = {}
    for rule in (rule for group in GROUPS for rule in group.rules if isinstance(rule, Recording)):
        engines.setdefault(rule.name, []).extend(rule.fixed.values())
    yield "\n".join(f"- {_recording(one, engines[one.name])}" for one in recorded(GROUPS).values())


def _recording(series: Series, sources: list[str]) -> str:
    made = f" from {', '.join(f'`{s}`' for s in sources)}" if sources else ""
    labels = _labels(series.labels)
    return f"`{series.name}` is recorded{_unit(series.unit)}{made} ({labels}): {_text(series.help)}."


def _external() -> Iterator[str]:
    yield "## Metrics of other programs that rules and dashboards use"
    yield (
        "Prometheus of a local stack scrapes Headrace's exporter, Ray and HAProxy.\n"
        "On Kubernetes the chart's PodMonitor has the exporter, Ray and HAProxy scraped.\n"
        "Metrics of kube-state-metrics, the kubelet and node exporter come with kube-prometheus-stack, and those of "
        "dcgm-exporter with the GPU operator.\n"
        "An engine in a replica answers its replica alone: with each check of its health, every ten seconds, the "
        "replica asks what it counts, and the exporter of the node passes on the series `vllm:*` and `llamacpp:*`, "
        "with the labels `model` and `pid` of the replica.\n"
        "The same series of other servers, such as those of KServe, come from your Prometheus, where it scrapes them.\n"
        "Where vLLM reports through Ray, the same metrics begin with `ray_vllm_` instead of `vllm:`."
    )
    for source, program in PROGRAMS.items():
        yield f"### {program}"
        shown = [one for one in EXTERNAL.values() if one.source == source and not one.name.startswith("ray_vllm_")]
        yield "\n".join(f"- {line}" for line in dict.fromkeys(_other(one) for one in shown))


def _other(series: Series) -> str:
    stem = next((series.name.removesuffix(e) for e in HISTOGRAM if series.name.endswith(e)), series.name)
    is_histogram = all(f"{stem}{ending}" in EXTERNAL for ending in HISTOGRAM)
    kind, name = ("histogram", stem) if is_histogram else (series.kind, series.name)
    unit = EXTERNAL[f"{stem}_sum"].unit if is_histogram else series.unit
    return f"`{name}` is a {kind}{_unit(unit)}: {_text(series.help)}."


def _genai() -> Iterator[str]:
    yield "## Equivalents of OpenTelemetry's GenAI metrics"
    yield (
        "OpenTelemetry's semantic conventions for generative AI name metrics of their own.\n"
        "This table has what comes closest to each.\n"
        "OpenTelemetry counts tokens in a histogram, and Headrace in counters."
    )
    rows = ["| OpenTelemetry | Headrace | Recorded | vLLM |", "| --- | --- | --- | --- |"]
    rows += [f"| {' | '.join(f'`{cell}`' if cell else '' for cell in row)} |" for row in GENAI]
    yield "\n".join(rows)
