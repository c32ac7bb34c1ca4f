"""Alerts about models and their engine replicas."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.objectives import API
from monitoring.rule import Alert, Group

_ASKED = 'headrace_request_duration_seconds_count{route="/v1/chat/completions",model="chat",outcome="ok"}'
_BUSY = ('headrace_engine_busy_seconds_total{model="chat"}', "0+600x30")


def _leases(fast: str, slow: str) -> list[tuple[str, str]]:
    """Returns samples of two replicas, whose leases take so many seconds."""
    return [
        (f'headrace_engine_lease_seconds{{model="chat",replica="{name}"}}', f"{seconds}x30")
        for name, seconds in (("one", fast), ("two", slow))
    ]


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
                ('headrace_errors_total{route="/v1/chat/completions",code="engine_error",outcome="error"}', "0+2x30"),
                ('headrace_errors_total{route="/v1/chat/completions",code="engine_timeout",outcome="error"}', "0+1x30"),
                ('headrace_requests_started_total{route="/v1/chat/completions"}', "0+100x30"),
            ),
            silent=alert_case(
                "20m",
                ('headrace_errors_total{route="/v1/chat/completions",code="engine_error",outcome="error"}', "0+19x30"),
                ('headrace_requests_started_total{route="/v1/chat/completions"}', "0+1000x30"),
            ),
        ),
        Alert(
            name="EndpointThrottles",
            # Divided by the model's requests: a few 429s at a peak are normal. Nobody's requests name a model that only
            # the stack itself asks, such as an embedder: nothing is divided there.
            expression='sum by (model) (rate(headrace_engine_failures_total{cause="throttled"}[10m]))'
            " / (sum by (model) (rate(headrace_request_duration_seconds_count[10m])) > 0) > 0.05"
            ' and sum by (model) (increase(headrace_engine_failures_total{cause="throttled"}[10m])) > 5',
            wait="5m",
            severity="ticket",
            owner="models",
            summary="{{ $value | humanizePercentage }} of the requests to {{ $labels.model }} exceed its provider's"
            " limit (429)",
            dashboard="models",
            fires=alert_case(
                "20m",
                ('headrace_engine_failures_total{model="chat",cause="throttled"}', "0+6x30"),
                (_ASKED, "0+100x30"),
            ),
            silent=alert_case(
                "20m",
                ('headrace_engine_failures_total{model="chat",cause="throttled"}', "0+4x30"),
                ('headrace_engine_failures_total{model="chat",cause="error"}', "0+50x30"),
                (_ASKED, "0+100x30"),
                ('headrace_engine_failures_total{model="embedder",cause="throttled"}', "0x5 1x25"),
                (_ASKED.replace("chat", "embedder", 2).replace("/embedder/", "/chat/"), "0x30"),
            ),
        ),
        Alert(
            name="EndpointRejectsKey",
            # No request succeeds until somebody installs another key. Some providers also answer 403 to certain texts.
            expression='sum by (model) (increase(headrace_engine_failures_total{cause="unauthorized"}[10m])) > 2'
            " unless on (model)"
            ' sum by (model) (increase(headrace_request_duration_seconds_count{outcome="ok"}[10m])) > 0',
            wait="0m",
            severity="ticket",
            owner="models",
            summary="The endpoint of {{ $labels.model }} rejected its key {{ $value | humanize }} times in 10 minutes"
            " (401 or 403)",
            dashboard="models",
            fires=alert_case(
                "15m", ('headrace_engine_failures_total{model="chat",cause="unauthorized"}', "0x5 0+1x20")
            ),
            silent=alert_case(
                "15m",
                ('headrace_engine_failures_total{model="chat",cause="unauthorized"}', "0x5 1x20"),
                ('headrace_engine_failures_total{model="chat",cause="unreachable"}', "0x5 0+9x20"),
                ('headrace_engine_failures_total{model="moderated",cause="unauthorized"}', "0x5 0+1x20"),
                (_ASKED.replace('"chat"', '"moderated"'), "0+100x30"),
            ),
        ),
        Alert(
            name="ReplicaSlow",
            # Leases of all replicas of a model are alike, since they are distributed without looking at the request.
            # With traffic they do not differ by chance for 15 minutes. Leases of requests that fail are short, though.
            expression="max by (model, replica) (headrace_engine_lease_seconds)"
            " > on (model) group_left () 3 * min by (model) (headrace_engine_lease_seconds)"
            " and max by (model, replica) (headrace_engine_lease_seconds) > 0.5"
            " and on (model) sum by (model) (rate(headrace_engine_busy_seconds_total[10m])) > 0.5"
            " unless on (model) sum by (model) (rate(headrace_engine_failures_total[10m])) > 0",
            wait="15m",
            severity="ticket",
            owner="models",
            summary="The replica {{ $labels.replica }} of {{ $labels.model }} takes {{ $value | humanizeDuration }} for"
            " a request, more than three times as long as another",
            dashboard="models",
            fires=alert_case("20m", *_leases("2", "7"), _BUSY),
            silent=alert_case("20m", *_leases("2", "5"), _BUSY),
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
            wait="1m",
            severity="ticket",
            owner="models",
            summary="{{ $value }} replicas of {{ $labels.model }} do not serve its adapter {{ $labels.adapter }}",
            dashboard="models",
            fires=alert_case("10m", ('headrace_adapter_missing{model="chat",adapter="legal"}', "1x20")),
            # A replica that loads its adapters after its start.
            silent=alert_case("10m", ('headrace_adapter_missing{model="chat",adapter="legal"}', "1 0 1 0x20")),
        ),
        Alert(
            name="AnswersTruncated",
            expression='sum by (model) (increase(headrace_answers_total{ending="length"}[1h]))'
            " / sum by (model) (increase(headrace_answers_total[1h])) > 0.5"
            " and sum by (model) (increase(headrace_answers_total[1h])) > 20",
            wait="15m",
            severity="ticket",
            owner="models",
            summary="{{ $value | humanizePercentage }} of the answers of {{ $labels.model }} end at their length limit",
            dashboard="models",
            fires=alert_case(
                "80m",
                ('headrace_answers_total{model="chat",ending="length"}', "0+6x100"),
                ('headrace_answers_total{model="chat",ending="completed"}', "0+4x100"),
            ),
            silent=alert_case(
                "80m",
                ('headrace_answers_total{model="chat",ending="length"}', "0+4x100"),
                ('headrace_answers_total{model="chat",ending="completed"}', "0+6x100"),
                ('headrace_answers_total{model="rare",ending="length"}', "0x30 9x70"),
            ),
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
