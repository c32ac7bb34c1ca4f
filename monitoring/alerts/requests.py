"""Alerts about requests on their way through the gateway: queues, refusals, failures, streams and the proxy."""

from __future__ import annotations

from monitoring.alerts.seen import seen
from monitoring.objectives import API, GENERATION
from monitoring.rule import Alert, Group

_DURATION = 'headrace_request_duration_seconds_count{route="/v1/chat/completions",model="docs",outcome="ok"}'
_STARTED = 'headrace_requests_started_total{route="/v1/chat/completions"}'

GROUP = Group(
    "alerts-requests",
    (
        Alert(
            name="RequestQueueGrows",
            # A queue that is long and shrinks heals by itself; one that is short is what queues are for.
            expression="sum(headrace_requests_waiting) > 16 and sum(deriv(headrace_requests_waiting[10m])) > 0",
            wait="5m",
            severity="page",
            owner="platform",
            summary="{{ $value }} requests wait for admission, and they become more",
            dashboard="overview",
            fires=seen(
                "20m",
                ('headrace_requests_waiting{instance="a"}', "0+2x30"),
                ('headrace_requests_waiting{instance="b"}', "0+1x30"),
            ),
            silent=seen(
                "20m",
                ('headrace_requests_waiting{instance="a"}', "40-1x30"),
                ('headrace_requests_waiting{instance="b"}', "40-1x30"),
            ),
        ),
        Alert(
            name="OverloadRefusals",
            expression='sum(rate(headrace_errors_total{code="overloaded"}[10m]))'
            f" / sum(rate(headrace_requests_started_total{{{API}}}[10m])) > 0.05",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="{{ $value | humanizePercentage }} of the requests are refused since too many wait",
            dashboard="overview",
            fires=seen(
                "30m",
                ('headrace_errors_total{route="/v1/chat/completions",code="overloaded"}', "0+6x40"),
                (_STARTED, "0+100x40"),
            ),
            silent=seen(
                "30m",
                ('headrace_errors_total{route="/v1/chat/completions",code="overloaded"}', "0+49x40"),
                ('headrace_errors_total{route="/v1/chat/completions",code="invalid_value"}', "0+100x40"),
                (_STARTED, "0+1000x40"),
            ),
        ),
        Alert(
            name="InternalErrors",
            expression='sum by (route) (increase(headrace_errors_total{code="internal_error"}[15m])) > 3',
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="{{ $labels.route }} failed {{ $value | humanize }} times in 15 minutes for a reason of its own",
            dashboard="overview",
            fires=seen("15m", ('headrace_errors_total{route="/v1/responses",code="internal_error"}', "0x5 1 2 3 4x20")),
            silent=seen("15m", ('headrace_errors_total{route="/v1/responses",code="internal_error"}', "0x5 1 2x20")),
        ),
        Alert(
            name="RequestsHang",
            # Probes and lists of models go on while no answer of a model ends.
            expression="sum(headrace_requests_in_flight) > 4"
            f" and sum(rate(headrace_request_duration_seconds_count{{{GENERATION}}}[10m])) == 0",
            wait="10m",
            severity="page",
            owner="platform",
            summary="{{ $value }} requests are under way, and none has ended for 20 minutes",
            dashboard="overview",
            fires=seen("25m", ("headrace_requests_in_flight", "5x40"), (_DURATION, "100x40")),
            silent=seen("25m", ("headrace_requests_in_flight", "5x40"), (_DURATION, "100x12 101x30")),
        ),
        Alert(
            name="OverheadHigh",
            # The gateway's own work takes milliseconds: half a second is a sick gateway or a sick database.
            expression="histogram_quantile(0.95, sum by (le, route) (rate(headrace_overhead_seconds_bucket[10m])))"
            " > 0.5",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="Headrace itself takes {{ $value | humanizeDuration }} of a request to {{ $labels.route }}",
            dashboard="overview",
            fires=seen(
                "30m",
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="0.5"}', "0+90x40"),
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="1.0"}', "0+100x40"),
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="+Inf"}', "0+100x40"),
            ),
            silent=seen(
                "30m",
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="0.5"}', "0+96x40"),
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="1.0"}', "0+100x40"),
                ('headrace_overhead_seconds_bucket{route="/v1/chat/completions",le="+Inf"}', "0+100x40"),
            ),
        ),
        Alert(
            name="EventLoopLate",
            # A look is late once, however long the loop stood still. One late look may be a start, or a busy host.
            expression="sum by (deployment) (increase(headrace_event_loop_lag_seconds_count[10m]))"
            ' - sum by (deployment) (increase(headrace_event_loop_lag_seconds_bucket{le="1.0"}[10m])) > 3',
            wait="5m",
            severity="ticket",
            owner="platform",
            summary="A {{ $labels.deployment }} stood still {{ $value | humanize }} times, each for over a second",
            dashboard="overview",
            fires=seen(
                "20m",
                ('headrace_event_loop_lag_seconds_bucket{deployment="gateway",le="1.0"}', "0+200x30"),
                ('headrace_event_loop_lag_seconds_count{deployment="gateway"}', "0+201x30"),
            ),
            silent=seen(
                "20m",
                ('headrace_event_loop_lag_seconds_bucket{deployment="gateway",le="1.0"}', "0+200x30"),
                ('headrace_event_loop_lag_seconds_count{deployment="gateway"}', "0+200x10 2002+200x20"),
            ),
        ),
        Alert(
            name="TrafficStopped",
            # 0.2 requests per second are 360 in half an hour: after those, ten minutes without any are no chance. But
            # somebody's batch may have ended, which is why nobody is woken.
            expression=f"sum(rate(headrace_requests_started_total{{{API}}}[10m])) == 0"
            f" and sum(rate(headrace_requests_started_total{{{API}}}[30m] offset 10m)) > 0.2",
            wait="3m",
            severity="ticket",
            owner="platform",
            summary="No request has come for 10 minutes, and there were many before",
            dashboard="overview",
            fires=seen(
                "75m",
                (_STARTED, "0+20x60 1200x30"),
                ('headrace_requests_started_total{route="/healthz"}', "0+6x90"),
            ),
            silent=seen("75m", (_STARTED, "0+10x60 600x30")),
        ),
        Alert(
            name="StreamsLost",
            expression='sum(increase(headrace_stream_resumes_total{outcome="lost"}[30m])) > 5',
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="{{ $value | humanize }} callers came back for streams that no gateway keeps any more",
            dashboard="overview",
            fires=seen("35m", ('headrace_stream_resumes_total{outcome="lost"}', "0x10 6x40")),
            silent=seen(
                "35m",
                ('headrace_stream_resumes_total{outcome="lost"}', "0x10 4x40"),
                ('headrace_stream_resumes_total{outcome="elsewhere"}', "0+9x40"),
            ),
        ),
        Alert(
            name="ProxyConnectionErrors",
            expression="sum by (proxy) (increase(haproxy_backend_connection_errors_total[5m])) > 10",
            wait="5m",
            severity="ticket",
            owner="platform",
            summary="HAProxy could not connect to {{ $labels.proxy }} {{ $value | humanize }} times in 5 minutes",
            dashboard="ray",
            fires=seen("15m", ('haproxy_backend_connection_errors_total{proxy="http-headrace"}', "0+3x20")),
            silent=seen("15m", ('haproxy_backend_connection_errors_total{proxy="http-headrace"}', "0+2x20")),
        ),
    ),
)
