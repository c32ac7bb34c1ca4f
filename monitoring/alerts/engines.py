"""Alerts about models and their engine replicas."""

from __future__ import annotations

from monitoring.alerts.seen import seen
from monitoring.objectives import API
from monitoring.rule import Alert, Group

GROUP = Group(
    "alerts-engines",
    (
        Alert(
            name="NoHealthyReplica",
            # A replica that died takes its series along, so zero is no series at all.
            expression="max by (model) (headrace_engine_expected) > 0"
            " unless on (model) (sum by (model) (headrace_engine_up) > 0)",
            wait="2m",
            severity="page",
            owner="models",
            summary="No replica of {{ $labels.model }} answers",
            dashboard="models",
            fires=seen(
                "10m", ('headrace_engine_expected{model="chat"}', "1x20"), ('headrace_engine_up{model="other"}', "1x20")
            ),
            silent=seen(
                "10m",
                ('headrace_engine_expected{model="chat"}', "2x20"),
                ('headrace_engine_up{model="chat",instance="a"}', "0x20"),
                ('headrace_engine_up{model="chat",instance="b"}', "1x20"),
            ),
        ),
        Alert(
            name="ReplicasMissing",
            expression="sum by (model) (headrace_engine_up) < max by (model) (headrace_engine_expected)",
            wait="15m",
            severity="ticket",
            owner="models",
            summary="Only {{ $value }} replicas of {{ $labels.model }} answer, fewer than are configured",
            dashboard="models",
            fires=seen(
                "20m", ('headrace_engine_expected{model="chat"}', "3x30"), ('headrace_engine_up{model="chat"}', "2x30")
            ),
            # A roll-out that is over in time.
            silent=seen(
                "20m",
                ('headrace_engine_expected{model="chat"}', "3x30"),
                ('headrace_engine_up{model="chat"}', "2x14 3 2x15"),
            ),
        ),
        Alert(
            name="ReplicaFlapping",
            expression="sum by (model) (increase(headrace_engine_restarts_total[30m])) >= 3",
            wait="0m",
            severity="page",
            owner="models",
            summary="Engines of {{ $labels.model }} stopped answering {{ $value | humanize }} times in 30 minutes",
            dashboard="models",
            fires=seen("40m", ('headrace_engine_restarts_total{model="chat"}', "0x15 1x5 2x5 3x20")),
            silent=seen("40m", ('headrace_engine_restarts_total{model="chat"}', "0x15 1x5 2x30")),
        ),
        Alert(
            name="EngineQueueGrows",
            expression="llm:requests_waiting:sum > 4 and llm:requests_waiting:sum > llm:requests_running:sum",
            wait="5m",
            severity="ticket",
            owner="models",
            summary="{{ $value }} requests wait for the engines of {{ $labels.model }}, more than they decode",
            dashboard="models",
            fires=seen(
                "10m",
                ('llm:requests_waiting:sum{model="chat",engine="vllm"}', "9x20"),
                ('llm:requests_running:sum{model="chat",engine="vllm"}', "8x20"),
            ),
            silent=seen(
                "10m",
                ('llm:requests_waiting:sum{model="chat",engine="vllm"}', "8x20"),
                ('llm:requests_running:sum{model="chat",engine="vllm"}', "8x20"),
            ),
        ),
        Alert(
            name="KVCachePressure",
            expression="llm:kv_cache_used:ratio > 0.95",
            wait="10m",
            severity="ticket",
            owner="models",
            summary="The KV cache of {{ $labels.model }} is {{ $value | humanizePercentage }} full",
            dashboard="models",
            fires=seen("15m", ('llm:kv_cache_used:ratio{model="chat",engine="vllm"}', "0.96x20")),
            silent=seen("15m", ('llm:kv_cache_used:ratio{model="chat",engine="vllm"}', "0.99x8 0.95x20")),
        ),
        Alert(
            name="Preemptions",
            expression="llm:preemptions:rate5m > 0.1",
            wait="10m",
            severity="ticket",
            owner="models",
            summary="{{ $labels.model }} puts back {{ $value | humanize }} requests per second to make room",
            dashboard="models",
            fires=seen("15m", ('llm:preemptions:rate5m{model="chat",engine="vllm"}', "0.11x20")),
            silent=seen("15m", ('llm:preemptions:rate5m{model="chat",engine="vllm"}', "5x8 0.1x20")),
        ),
        Alert(
            name="EngineSaturated",
            expression="sum by (model) (headrace_engine_leases) / (sum by (model) (headrace_engine_slots) > 0) > 0.95",
            wait="30m",
            severity="ticket",
            owner="models",
            summary="Requests hold {{ $value | humanizePercentage }} of what {{ $labels.model }} can decode at once",
            dashboard="models",
            fires=seen(
                "35m", ('headrace_engine_leases{model="chat"}', "8x40"), ('headrace_engine_slots{model="chat"}', "8x40")
            ),
            silent=seen(
                "35m",
                ('headrace_engine_leases{model="chat"}', "8x20 7x20"),
                ('headrace_engine_slots{model="chat"}', "8x40"),
            ),
        ),
        Alert(
            name="EngineErrors",
            expression='sum(rate(headrace_errors_total{code=~"engine_error|engine_timeout"}[10m]))'
            f" / sum(rate(headrace_requests_started_total{{{API}}}[10m])) > 0.02",
            wait="5m",
            severity="ticket",
            owner="models",
            summary="{{ $value | humanizePercentage }} of the requests end since a model failed or gave no answer",
            dashboard="models",
            fires=seen(
                "20m",
                ('headrace_errors_total{route="/v1/chat/completions",code="engine_error"}', "0+2x30"),
                ('headrace_errors_total{route="/v1/chat/completions",code="engine_timeout"}', "0+1x30"),
                ('headrace_requests_started_total{route="/v1/chat/completions"}', "0+100x30"),
            ),
            silent=seen(
                "20m",
                ('headrace_errors_total{route="/v1/chat/completions",code="engine_error"}', "0+19x30"),
                ('headrace_requests_started_total{route="/v1/chat/completions"}', "0+1000x30"),
            ),
        ),
        Alert(
            name="RequestsReplaced",
            expression="sum by (model) (increase(headrace_engine_replaced_total[15m])) > 5",
            wait="0m",
            severity="ticket",
            owner="models",
            summary="{{ $value | humanize }} requests to {{ $labels.model }} lost their replica in 15 minutes",
            dashboard="models",
            fires=seen("20m", ('headrace_engine_replaced_total{model="chat"}', "0x10 6x20")),
            silent=seen("20m", ('headrace_engine_replaced_total{model="chat"}', "0x10 4x20")),
        ),
        Alert(
            name="ModelLoadSlow",
            # Serve and Kubernetes wait longer; a person who rolls back does not.
            expression="max by (model) (headrace_engine_load_seconds) > 600",
            wait="0m",
            severity="ticket",
            owner="models",
            summary="{{ $labels.model }} took {{ $value | humanizeDuration }} to load",
            dashboard="models",
            fires=seen("5m", ('headrace_engine_load_seconds{model="chat"}', "601x10")),
            silent=seen("5m", ('headrace_engine_load_seconds{model="chat"}', "600x10")),
        ),
        Alert(
            name="AdapterMissing",
            expression="sum by (model, adapter) (headrace_adapter_missing) > 0",
            wait="5m",
            severity="ticket",
            owner="models",
            summary="{{ $value }} replicas of {{ $labels.model }} do not serve its adapter {{ $labels.adapter }}",
            dashboard="models",
            fires=seen("10m", ('headrace_adapter_missing{model="chat",adapter="legal"}', "1x20")),
            # A replica that loads its adapters after it came up.
            silent=seen("10m", ('headrace_adapter_missing{model="chat",adapter="legal"}', "1x4 0 1x4 0x20")),
        ),
        Alert(
            name="EnginesSilent",
            expression="sum(headrace_engine_leases) > 0 and sum(rate(headrace_completion_tokens_total[10m])) == 0",
            wait="10m",
            severity="page",
            owner="models",
            summary="Requests hold {{ $value }} replicas, and no answer had a token for 20 minutes",
            dashboard="models",
            fires=seen(
                "25m",
                ('headrace_engine_leases{model="chat"}', "1x30"),
                ('headrace_completion_tokens_total{model="docs",tenant="default"}', "500x30"),
            ),
            silent=seen(
                "25m",
                ('headrace_engine_leases{model="chat"}', "1x30"),
                ('headrace_completion_tokens_total{model="docs",tenant="default"}', "500x12 520x20"),
            ),
        ),
    ),
)
