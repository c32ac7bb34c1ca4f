"""Alerts about models and their engine replicas."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.objectives import API
from monitoring.rule import Alert, Group

GROUP = Group(
    "alerts-engines",
    (
        Alert(
            name="NoHealthyReplica",
            # The series of a replica disappears when it dies: no replica is no series, not zero.
            expression="max by (model) (headrace_engine_expected) > 0"
            " unless on (model) (sum by (model) (headrace_engine_up) > 0)",
            wait="2m",
            severity="page",
            owner="models",
            summary="No replica of {{ $labels.model }} answers",
            dashboard="models",
            fires=alert_case(
                "10m", ('headrace_engine_expected{model="chat"}', "1x20"), ('headrace_engine_up{model="other"}', "1x20")
            ),
            silent=alert_case(
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
            summary="Only {{ $value }} replicas of {{ $labels.model }} answer, fewer than configured",
            dashboard="models",
            fires=alert_case(
                "20m", ('headrace_engine_expected{model="chat"}', "3x30"), ('headrace_engine_up{model="chat"}', "2x30")
            ),
            # A roll-out that ends in time.
            silent=alert_case(
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
            fires=alert_case("40m", ('headrace_engine_restarts_total{model="chat"}', "0x15 1x5 2x5 3x20")),
            silent=alert_case("40m", ('headrace_engine_restarts_total{model="chat"}', "0x15 1x5 2x30")),
        ),
        Alert(
            name="EngineQueueGrows",
            expression="llm:requests_waiting:sum > 4 and llm:requests_waiting:sum > llm:requests_running:sum",
            wait="5m",
            severity="ticket",
            owner="models",
            summary="{{ $value }} requests are waiting in the engines of {{ $labels.model }}, more than are running",
            dashboard="models",
            fires=alert_case(
                "10m",
                ('llm:requests_waiting:sum{model="chat",engine="vllm"}', "9x20"),
                ('llm:requests_running:sum{model="chat",engine="vllm"}', "8x20"),
            ),
            silent=alert_case(
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
            fires=alert_case("15m", ('llm:kv_cache_used:ratio{model="chat",engine="vllm"}', "0.96x20")),
            silent=alert_case("15m", ('llm:kv_cache_used:ratio{model="chat",engine="vllm"}', "0.99x8 0.95x20")),
        ),
        Alert(
            name="Preemptions",
            expression="llm:preemptions:rate5m > 0.1",
            wait="10m",
            severity="ticket",
            owner="models",
            summary="{{ $labels.model }} preempts {{ $value | humanize }} requests per second: its KV cache is full",
            dashboard="models",
            fires=alert_case("15m", ('llm:preemptions:rate5m{model="chat",engine="vllm"}', "0.11x20")),
            silent=alert_case("15m", ('llm:preemptions:rate5m{model="chat",engine="vllm"}', "5x8 0.1x20")),
        ),
        Alert(
            name="EngineSaturated",
            expression="sum by (model) (headrace_engine_leases) / (sum by (model) (headrace_engine_slots) > 0) > 0.95",
            wait="30m",
            severity="ticket",
            owner="models",
            summary="{{ $value | humanizePercentage }} of the slots of {{ $labels.model }} are in use",
            dashboard="models",
            fires=alert_case(
                "35m", ('headrace_engine_leases{model="chat"}', "8x40"), ('headrace_engine_slots{model="chat"}', "8x40")
            ),
            silent=alert_case(
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
            summary="{{ $value | humanizePercentage }} of the requests fail because a model failed or timed out",
            dashboard="models",
            fires=alert_case(
                "20m",
                ('headrace_errors_total{route="/v1/chat/completions",code="engine_error"}', "0+2x30"),
                ('headrace_errors_total{route="/v1/chat/completions",code="engine_timeout"}', "0+1x30"),
                ('headrace_requests_started_total{route="/v1/chat/completions"}', "0+100x30"),
            ),
            silent=alert_case(
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
            fires=alert_case("20m", ('headrace_engine_replaced_total{model="chat"}', "0x10 6x20")),
            silent=alert_case("20m", ('headrace_engine_replaced_total{model="chat"}', "0x10 4x20")),
        ),
        Alert(
            name="ModelLoadSlow",
            # Serve and Kubernetes wait longer, but a person who rolls back does not.
            expression="max by (model) (headrace_engine_load_seconds) > 600",
            wait="0m",
            severity="ticket",
            owner="models",
            summary="{{ $labels.model }} took {{ $value | humanizeDuration }} to load",
            dashboard="models",
            fires=alert_case("5m", ('headrace_engine_load_seconds{model="chat"}', "601x10")),
            silent=alert_case("5m", ('headrace_engine_load_seconds{model="chat"}', "600x10")),
        ),
        Alert(
            name="AdapterMissing",
            expression="sum by (model, adapter) (headrace_adapter_missing) > 0",
            wait="5m",
            severity="ticket",
            owner="models",
            summary="{{ $value }} replicas of {{ $labels.model }} do not serve its adapter {{ $labels.adapter }}",
            dashboard="models",
            fires=alert_case("10m", ('headrace_adapter_missing{model="chat",adapter="legal"}', "1x20")),
            # A replica that loads its adapters after its start.
            silent=alert_case("10m", ('headrace_adapter_missing{model="chat",adapter="legal"}', "1x4 0 1x4 0x20")),
        ),
        Alert(
            name="EnginesSilent",
            expression="sum(headrace_engine_leases) > 0 and sum(rate(headrace_completion_tokens_total[10m])) == 0",
            wait="10m",
            severity="page",
            owner="models",
            summary="{{ $value }} requests hold a slot, and no model has written a token for 20 minutes",
            dashboard="models",
            fires=alert_case(
                "25m",
                ('headrace_engine_leases{model="chat"}', "1x30"),
                ('headrace_completion_tokens_total{model="docs",tenant="default"}', "500x30"),
            ),
            silent=alert_case(
                "25m",
                ('headrace_engine_leases{model="chat"}', "1x30"),
                ('headrace_completion_tokens_total{model="docs",tenant="default"}', "500x12 520x20"),
            ),
        ),
    ),
)
