"""Alerts about assistants: failures, retrieval, unsupported sentences, and tools."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.rule import Alert, Group

GROUP = Group(
    "alerts-assistants",
    (
        Alert(
            name="AssistantFails",
            expression='sum by (assistant) (rate(headrace_assistant_requests_total{outcome="error"}[15m]))'
            " / sum by (assistant) (rate(headrace_assistant_requests_total[15m])) > 0.1",
            wait="10m",
            severity="ticket",
            owner="applications",
            summary="{{ $value | humanizePercentage }} of the requests to {{ $labels.assistant }} fail",
            dashboard="assistants",
            fires=alert_case(
                "30m",
                ('headrace_assistant_requests_total{assistant="docs",outcome="error"}', "0+11x40"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+89x40"),
            ),
            silent=alert_case(
                "30m",
                ('headrace_assistant_requests_total{assistant="docs",outcome="error"}', "0+9x40"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="refused"}', "0+50x40"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+41x40"),
            ),
        ),
        Alert(
            name="RetrievalFindsNothing",
            # Assistants that tenants make are counted together as `other`, whose requests are not: all searches are.
            expression="(sum by (assistant) (increase(headrace_retrieval_empty_total[1h]))"
            " / sum by (assistant) (increase(headrace_assistant_requests_total[1h]))"
            ' or sum by (assistant) (increase(headrace_retrieval_empty_total{assistant="other"}[1h]))'
            " / on () group_left () sum(increase(headrace_retrieval_top_score_count[1h]))) > 0.4"
            " and sum by (assistant) (increase(headrace_retrieval_empty_total[1h])) > 20",
            wait="15m",
            severity="ticket",
            owner="applications",
            summary="Retrieval finds nothing for {{ $value | humanizePercentage }} of the questions to"
            " {{ $labels.assistant }}",
            dashboard="assistants",
            fires=alert_case(
                "80m",
                ('headrace_retrieval_empty_total{assistant="docs"}', "0+45x100"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+100x100"),
            ),
            silent=alert_case(
                "80m",
                ('headrace_retrieval_empty_total{assistant="docs"}', "0+39x100"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+100x100"),
                ('headrace_retrieval_empty_total{assistant="other"}', "0+79x100"),
                ("headrace_retrieval_top_score_count", "0+200x100"),
            ),
        ),
        Alert(
            name="UnsupportedSentences",
            expression="sum(increase(headrace_unsupported_sentences_total[1h]))"
            ' / sum(increase(headrace_assistant_requests_total{outcome="ok"}[1h])) > 3'
            ' and sum(increase(headrace_assistant_requests_total{outcome="ok"}[1h])) > 20',
            wait="30m",
            severity="info",
            owner="applications",
            summary="Answers have {{ $value | humanize }} sentences on average that no document supports",
            dashboard="assistants",
            fires=alert_case(
                "100m",
                ('headrace_unsupported_sentences_total{model="docs"}', "0+4x120"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+1x120"),
            ),
            silent=alert_case(
                "100m",
                ('headrace_unsupported_sentences_total{model="docs"}', "0+2.9x120"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+1x120"),
            ),
        ),
        Alert(
            name="ToolFails",
            expression='sum by (tool) (increase(headrace_tool_calls_total{outcome=~"error|timeout"}[15m]))'
            " / sum by (tool) (increase(headrace_tool_calls_total[15m])) > 0.5"
            " and sum by (tool) (increase(headrace_tool_calls_total[15m])) > 10",
            wait="5m",
            severity="ticket",
            owner="applications",
            summary="{{ $value | humanizePercentage }} of the calls to the tool {{ $labels.tool }} fail",
            dashboard="assistants",
            fires=alert_case(
                "30m",
                ('headrace_tool_calls_total{tool="weather",outcome="timeout"}', "0+3x40"),
                ('headrace_tool_calls_total{tool="weather",outcome="ok"}', "0+2x40"),
            ),
            silent=alert_case(
                "30m",
                ('headrace_tool_calls_total{tool="weather",outcome="error"}', "0+24x40"),
                ('headrace_tool_calls_total{tool="weather",outcome="ok"}', "0+26x40"),
                ('headrace_tool_calls_total{tool="rare",outcome="error"}', "0x20 5x20"),
            ),
        ),
        Alert(
            name="MemoryDropped",
            expression="sum(increase(headrace_memory_dropped_total[1h])) > 20",
            wait="0m",
            severity="info",
            owner="applications",
            summary="Memory got no list of facts from a model {{ $value | humanize }} times in an hour",
            dashboard="assistants",
            fires=alert_case("70m", ("headrace_memory_dropped_total", "0x20 21x60")),
            silent=alert_case("70m", ("headrace_memory_dropped_total", "0x20 19x60")),
        ),
    ),
)
