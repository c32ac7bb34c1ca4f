"""Alerts about requests in the gateway: queues, rejections, failures, streams and the proxy."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.objectives import API, GENERATION
from monitoring.rule import Alert, Group

_DURATION = 'headrace_request_duration_seconds_count{route="/v1/chat/completions",model="docs",outcome="ok"}'
_STARTED = 'headrace_requests_started_total{route="/v1/chat/completions"}'
_BUSY_BEFORE = "".join(
    " unless on (tenant) sum by (tenant) (rate(headrace_tenant_requests_total[5m]))"
    f" < 3 * sum by (tenant) (rate(headrace_tenant_requests_total[5m] offset {ago}))"
    for ago in ("1h", "1d", "7d")
)


def _flood(sent: str) -> list[tuple[str, str]]:
    """Returns samples of the requests of two tenants, one of which `sent` so many."""
    quiet = 'headrace_tenant_requests_total{tenant="quiet",outcome="ok"}'
    return [('headrace_tenant_requests_total{tenant="acme",outcome="ok"}', sent), (quiet, "0+10x90")]


GROUP = Group(
    "alerts-requests",
    (
        Alert(
            name="RequestQueueGrows",
            # A long queue that shrinks needs no help, and short queues are normal.
            expression="sum(headrace_requests_waiting) > 16 and sum(deriv(headrace_requests_waiting[10m])) > 0",
            wait="5m",
            severity="page",
            owner="platform",
            summary="{{ $value }} requests are waiting for admission, and the queue is growing",
            dashboard="overview",
            fires=alert_case(
                "20m",
                ('headrace_requests_waiting{instance="a"}', "0+2x30"),
                ('headrace_requests_waiting{instance="b"}', "0+1x30"),
            ),
            silent=alert_case(
                "20m",
                ('headrace_requests_waiting{instance="a"}', "40-1x30"),
                ('headrace_requests_waiting{instance="b"}', "40-1x30"),
            ),
        ),
        Alert(
            name="TenantFloods",
            # Not where no other tenant has much to lose, nor for one that sent as much an hour, a day or a week ago.
            expression="sum by (tenant) (rate(headrace_tenant_requests_total[5m]))"
            " / on () group_left () sum(rate(headrace_tenant_requests_total[5m])) > 0.7"
            " and on () sum(headrace_requests_waiting) > 16"
            " and on () sum(rate(headrace_tenant_requests_total[5m]))"
            " - max(sum by (tenant) (rate(headrace_tenant_requests_total[5m]))) > 0.1" + _BUSY_BEFORE,
            wait="3m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.tenant }} sends {{ $value | humanizePercentage }} of all requests while others wait",
            dashboard="tenants",
            fires=alert_case("80m", *_flood("0+20x60 1200+400x30"), ("headrace_requests_waiting", "20x90")),
            silent=alert_case("80m", *_flood("0+20x60 1200+50x30"), ("headrace_requests_waiting", "20x90")),
        ),
        Alert(
            name="OverloadRefusals",
            # Callers of a provider that throttles get the same code; it has an alert of its own.
            expression='(sum(rate(headrace_errors_total{code="overloaded"}[10m]))'
            ' - (sum(rate(headrace_engine_failures_total{cause="throttled"}[10m])) or vector(0)))'
            f" / sum(rate(headrace_requests_started_total{{{API}}}[10m])) > 0.05",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="{{ $value | humanizePercentage }} of the requests are rejected because too many are waiting",
            dashboard="overview",
            fires=alert_case(
                "30m",
                ('headrace_errors_total{route="/v1/chat/completions",code="overloaded",outcome="refused"}', "0+6x40"),
                (_STARTED, "0+100x40"),
            ),
            silent=alert_case(
                "30m",
                ('headrace_errors_total{route="/v1/chat/completions",code="overloaded",outcome="refused"}', "0+94x40"),
                ('headrace_engine_failures_total{model="chat",cause="throttled"}', "0+45x40"),
                (
                    'headrace_errors_total{route="/v1/chat/completions",code="invalid_value",outcome="refused"}',
                    "0+100x40",
                ),
                (_STARTED, "0+1000x40"),
            ),
        ),
        Alert(
            name="InternalErrors",
            expression='sum by (route) (increase(headrace_errors_total{code="internal_error"}[15m])) > 3',
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.route }} failed {{ $value | humanize }} times in 15 minutes with an internal error",
            dashboard="overview",
            fires=alert_case(
                "15m",
                (
                    'headrace_errors_total{route="/v1/responses",code="internal_error",outcome="error"}',
                    "0x5 1 2 3 4x20",
                ),
            ),
            silent=alert_case(
                "15m",
                ('headrace_errors_total{route="/v1/responses",code="internal_error",outcome="error"}', "0x5 1 2x20"),
            ),
        ),
        Alert(
            name="RequestsHang",
            # Only routes that ask a model: probes and lists of models may still succeed.
            expression="sum(headrace_requests_in_flight) > 4"
            f" and sum(rate(headrace_request_duration_seconds_count{{{GENERATION}}}[10m])) == 0",
            wait="10m",
            severity="page",
            owner="platform",
            summary="{{ $value }} requests are in flight, and none has ended for 20 minutes",
            dashboard="overview",
            fires=alert_case("25m", ("headrace_requests_in_flight", "5x40"), (_DURATION, "100x40")),
            silent=alert_case("25m", ("headrace_requests_in_flight", "5x40"), (_DURATION, "100x12 101x30")),
        ),
        Alert(
            name="OverheadHigh",
            # The gateway's own work takes milliseconds: half a second means trouble in the gateway or the database.
            expression="histogram_quantile(0.95, sum by (le, route) (rate(headrace_overhead_seconds_bucket[10m])))"
            " > 0.5",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="Headrace adds {{ $value | humanizeDuration }} to a request to {{ $labels.route }}",
            dashboard="overview",
            fires=alert_case(
                "30m",
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="0.5"}', "0+90x40"),
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="1.0"}', "0+100x40"),
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="+Inf"}', "0+100x40"),
            ),
            silent=alert_case(
                "30m",
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="0.5"}', "0+96x40"),
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="1.0"}', "0+100x40"),
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="+Inf"}', "0+100x40"),
            ),
        ),
        Alert(
            name="EventLoopLate",
            # However long the loop is blocked, it counts one late sample. A single one may be a start or a busy host.
            expression="sum by (deployment) (increase(headrace_event_loop_lag_seconds_count[10m]))"
            ' - sum by (deployment) (increase(headrace_event_loop_lag_seconds_bucket{le="1.0"}[10m])) > 3',
            wait="5m",
            severity="ticket",
            owner="platform",
            summary="Event loops of {{ $labels.deployment }} were blocked for over 1 s {{ $value | humanize }} times",
            dashboard="overview",
            fires=alert_case(
                "20m",
                ('headrace_event_loop_lag_seconds_bucket{deployment="gateway",le="1.0"}', "0+200x30"),
                ('headrace_event_loop_lag_seconds_count{deployment="gateway"}', "0+201x30"),
            ),
            silent=alert_case(
                "20m",
                ('headrace_event_loop_lag_seconds_bucket{deployment="gateway",le="1.0"}', "0+200x30"),
                ('headrace_event_loop_lag_seconds_count{deployment="gateway"}', "0+200x10 2002+200x20"),
            ),
        ),
        Alert(
            name="TrafficStopped",
            # 0.2 requests per second are 360 in half an hour: ten minutes without any are then no coincidence.
            # A batch may have ended, though, so the alert wakes nobody.
            expression=f"sum(rate(headrace_requests_started_total{{{API}}}[10m])) == 0"
            f" and sum(rate(headrace_requests_started_total{{{API}}}[30m] offset 10m)) > 0.2",
            wait="3m",
            severity="ticket",
            owner="platform",
            summary="No request has arrived for 10 minutes, although there were many before",
            dashboard="overview",
            fires=alert_case(
                "75m",
                (_STARTED, "0+20x60 1200x30"),
                ('headrace_requests_started_total{route="/healthz"}', "0+6x90"),
            ),
            silent=alert_case("75m", (_STARTED, "0+10x60 600x30")),
        ),
        Alert(
            name="StreamsLost",
            expression='sum(increase(headrace_stream_resumes_total{outcome="lost"}[30m])) > 5',
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="{{ $value | humanize }} callers tried to resume streams that no gateway holds any longer",
            dashboard="overview",
            fires=alert_case("35m", ('headrace_stream_resumes_total{outcome="lost"}', "0x10 6x40")),
            silent=alert_case(
                "35m",
                ('headrace_stream_resumes_total{outcome="lost"}', "0x10 4x40"),
                ('headrace_stream_resumes_total{outcome="elsewhere"}', "0+9x40"),
            ),
        ),
        Alert(
            name="SpansLost",
            expression="sum(increase(headrace_spans_lost_total[15m])) > 100",
            wait="5m",
            severity="info",
            owner="platform",
            summary="{{ $value | humanize }} spans of traces did not reach their receiver in 15 minutes",
            dashboard="overview",
            fires=alert_case("25m", ("headrace_spans_lost_total", "0x5 0+20x30")),
            silent=alert_case("25m", ("headrace_spans_lost_total", "0x5 90x30")),
        ),
        Alert(
            name="ProxyConnectionErrors",
            expression="sum by (proxy) (increase(haproxy_backend_connection_errors_total[5m])) > 10",
            wait="5m",
            severity="ticket",
            owner="platform",
            summary="HAProxy could not connect to {{ $labels.proxy }} {{ $value | humanize }} times in 5 minutes",
            dashboard="ray",
            fires=alert_case("15m", ('haproxy_backend_connection_errors_total{proxy="http-headrace"}', "0+3x20")),
            silent=alert_case("15m", ('haproxy_backend_connection_errors_total{proxy="http-headrace"}', "0+2x20")),
        ),
    ),
)
