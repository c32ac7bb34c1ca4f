"""Recording rules: series of models under the same names for all engines, and series of GPUs.

A series `llm:*` has the label `engine`, which names the program that counted: `gateway` (Headrace, for every model),
`vllm`, `ray-vllm` (vLLM that reports through Ray) or `llama.cpp`. The gateway and an engine count the same requests:
select one engine, and never add them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from monitoring.rule import Group, Recording
from serving.telemetry.catalogue import Unit

WINDOW = "5m"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that counts requests; its metrics name the model in `label`, whose values match `pattern`.

    When that label is empty, the label `otherwise` identifies the server.
    """

    name: str
    label: str
    pattern: str = "(.+)"
    otherwise: str = ""

    def by_model(self, expression: str, *, kept: tuple[str, ...] = (), operator: str = "sum") -> str:
        """Returns an expression that aggregates over all labels but the model and `kept`."""
        by = ", ".join((*kept, "model"))
        if self.otherwise:
            named = f'label_join({expression}, "model", ";", "{self.label}", "{self.otherwise}")'
            return f'{operator} by ({by}) (label_replace({named}, "model", "$1", "model", ";?([^;]+).*"))'
        if self.label == "model":
            return f"{operator} by ({by}) ({expression})"
        return f'{operator} by ({by}) (label_replace({expression}, "model", "$1", "{self.label}", "{self.pattern}"))'

    def rate(self, name: str) -> str:
        return self.by_model(f"rate({name}[{WINDOW}])")

    def quantile(self, name: str, q: float) -> str:
        return f"histogram_quantile({q:g}, {self.by_model(f'rate({name}_bucket[{WINDOW}])', kept=('le',))})"


GATEWAY = Engine("gateway", "model")
# llama.cpp's metrics name no model. For servers in replicas the exporter adds it; others are known by their address.
LLAMACPP = Engine("llama.cpp", "model", otherwise="instance")
VLLM = Engine("vllm", "model_name")
RAY_VLLM = Engine("ray-vllm", "model_name")
VLLMS = {VLLM: "vllm:", RAY_VLLM: "ray_vllm_"}
"""The prefixes of engines' metric names."""
SERVE = Engine("gateway", "application", "model-(.+)")
"""Ray Serve's metrics, in which each model is an application."""


def _recordings(name: str, unit: Unit, help: str, of: Mapping[Engine, str]) -> Iterator[Recording]:
    for engine, expression in of.items():
        yield Recording(name, expression, unit, ("model", "engine"), help, {"engine": engine.name})


def _vllms(make: Callable[[Engine, str], str]) -> dict[Engine, str]:
    """Returns expressions for vLLM's own metrics and for those through Ray; `make` gets the engine and its prefix."""
    return {engine: make(engine, prefix) for engine, prefix in VLLMS.items()}


def _requests() -> Iterator[Recording]:
    yield from _recordings(
        "llm:requests_running:sum",
        "1",
        "Requests being decoded.",
        {
            GATEWAY: GATEWAY.by_model("headrace_engine_leases"),
            LLAMACPP: LLAMACPP.by_model("llamacpp:requests_processing"),
            **_vllms(lambda e, p: e.by_model(f"{p}num_requests_running")),
        },
    )
    yield from _recordings(
        "llm:requests_waiting:sum",
        "1",
        "Requests waiting for a replica (gateway) or in an engine.",
        {
            SERVE: SERVE.by_model('ray_serve_deployment_queued_queries{application=~"model-.+"}'),
            LLAMACPP: LLAMACPP.by_model("llamacpp:requests_deferred"),
            **_vllms(lambda e, p: e.by_model(f"{p}num_requests_waiting")),
        },
    )
    yield from _recordings(
        "llm:requests:rate5m",
        "1",
        "Completed requests per second.",
        {
            GATEWAY: GATEWAY.rate("headrace_request_duration_seconds_count"),
            **_vllms(lambda e, p: e.rate(f"{p}request_success_total")),
        },
    )


def _tokens() -> Iterator[Recording]:
    yield from _recordings(
        "llm:prompt_tokens:rate5m",
        "1",
        "Prompt tokens read per second.",
        {
            GATEWAY: GATEWAY.rate("headrace_prompt_tokens_total"),
            LLAMACPP: LLAMACPP.rate("llamacpp:prompt_tokens_total"),
            **_vllms(lambda e, p: e.rate(f"{p}prompt_tokens_total")),
        },
    )
    yield from _recordings(
        "llm:generation_tokens:rate5m",
        "1",
        "Tokens written per second.",
        {
            GATEWAY: GATEWAY.rate("headrace_completion_tokens_total"),
            LLAMACPP: LLAMACPP.rate("llamacpp:tokens_predicted_total"),
            **_vllms(lambda e, p: e.rate(f"{p}generation_tokens_total")),
        },
    )


def _capacity() -> Iterator[Recording]:
    leases, slots = (GATEWAY.by_model(f"headrace_engine_{what}") for what in ("leases", "slots"))
    yield from _recordings(
        "llm:slots:sum", "1", "Most requests that the replicas of a model can decode together.", {GATEWAY: slots}
    )
    yield from _recordings(
        "llm:slots_used:ratio", "ratio", "Share of a model's slots in use.", {GATEWAY: f"{leases} / ({slots} > 0)"}
    )
    yield from _recordings(
        "llm:kv_cache_used:ratio",
        "ratio",
        "Share of the KV cache in use in the fullest replica.",
        _vllms(lambda e, p: e.by_model(f"{p}kv_cache_usage_perc", operator="max")),
    )
    yield from _recordings(
        "llm:preemptions:rate5m",
        "1",
        "Requests per second that were preempted to free KV cache for others.",
        _vllms(lambda e, p: e.rate(f"{p}num_preemptions_total")),
    )
    hits, misses = (LLAMACPP.rate(f"llamacpp:prompt_tokens{ending}_total") for ending in ("_cached", ""))
    yield from _recordings(
        "llm:prefix_cache_hits:ratio5m",
        "ratio",
        "Share of prompt tokens found in the prefix cache.",
        {
            LLAMACPP: f"{hits} / ({hits} + {misses} > 0)",
            **_vllms(
                lambda e, p: (
                    f"{e.rate(f'{p}prefix_cache_hits_total')} / ({e.rate(f'{p}prefix_cache_queries_total')} > 0)"
                )
            ),
        },
    )


TIMES: tuple[tuple[str, str, str, str], ...] = (
    ("ttft", "headrace_time_to_first_token_seconds", "time_to_first_token_seconds", "Time to the first token"),
    ("inter_token", "headrace_inter_token_seconds", "inter_token_latency_seconds", "Time between two tokens"),
    ("request", "headrace_request_duration_seconds", "e2e_request_latency_seconds", "Time of a request"),
    ("queue", "", "request_queue_time_seconds", "Time that a request waited in the engine"),
)
"""The middle of the recorded name, the gateway's histogram (if it has one), vLLM's histogram, and a help text."""


def _times() -> Iterator[Recording]:
    for metric, gateway, vllm, help in TIMES:
        for name, q in QUANTILES.items():
            found = {engine: engine.quantile(f"{prefix}{vllm}", q) for engine, prefix in VLLMS.items()}
            if gateway:
                found[GATEWAY] = GATEWAY.quantile(gateway, q)
            recorded, help_ = f"llm:{metric}_seconds:{name}_{WINDOW}", f"{help}: {name} over {WINDOW}."
            yield from _recordings(recorded, "seconds", help_, found)


GPUS: tuple[tuple[str, Unit, str, str, str], ...] = (
    (
        "gpu:used:ratio",
        "ratio",
        "Share of time that a GPU was busy.",
        "DCGM_FI_DEV_GPU_UTIL / 100",
        "ray_node_gpus_utilization / 100",
    ),
    (
        "gpu:memory_used:ratio",
        "ratio",
        "Share of a GPU's memory in use.",
        "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)",
        "ray_node_gram_used / (ray_node_gram_used + ray_node_gram_available)",
    ),
    (
        "gpu:power:watts",
        "watts",
        "Power that a GPU draws.",
        "DCGM_FI_DEV_POWER_USAGE",
        "ray_node_gpu_power_milliwatts / 1000",
    ),
    (
        "gpu:temperature:celsius",
        "celsius",
        "Temperature of a GPU.",
        "DCGM_FI_DEV_GPU_TEMP",
        "ray_node_gpu_temperature_celsius",
    ),
)
"""Recorded name, unit and help, and the expressions over DCGM's and over Ray's metrics."""


def _gpus() -> Iterator[Recording]:
    """Yields rules for each GPU: `source` names the exporter, `node` is the host's name (DCGM) or address (Ray)."""
    for name, unit, help, dcgm, ray in GPUS:
        named = {
            "dcgm": f'label_replace({dcgm}, "node", "$1", "Hostname", "(.+)")',
            "ray": f'label_replace(label_replace({ray}, "node", "$1", "ip", "(.+)"), "gpu", "$1", "GpuIndex", "(.+)")',
        }
        for source, expression in named.items():
            by_gpu = f"max by (node, gpu) ({expression})"
            yield Recording(name, by_gpu, unit, ("node", "gpu", "source"), help, {"source": source})


GROUPS: tuple[Group, ...] = (
    Group("llm", (*_requests(), *_tokens(), *_capacity(), *_times())),
    Group("gpu", tuple(_gpus())),
)
