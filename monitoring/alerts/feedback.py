"""Alerts about what people think of the answers, and whether they can say so."""

from __future__ import annotations

from monitoring.alerts.seen import seen
from monitoring.rule import Alert, Group

GROUP = Group(
    "alerts-feedback",
    (
        Alert(
            name="ThumbsDown",
            # Twenty ratings: of fewer, a share says little.
            expression='sum(increase(headrace_feedback_total{rating="down"}[6h]))'
            ' / sum(increase(headrace_feedback_total{rating=~"up|down"}[6h])) > 0.4'
            ' and sum(increase(headrace_feedback_total{rating=~"up|down"}[6h])) > 20',
            wait="15m",
            severity="ticket",
            owner="applications",
            summary="{{ $value | humanizePercentage }} of the ratings of the last 6 hours are thumbs down",
            dashboard="feedback",
            fires=seen(
                "400m",
                ('headrace_feedback_total{kind="response",rating="down"}', "0+0.05x420"),
                ('headrace_feedback_total{kind="message",rating="up"}', "0+0.05x420"),
            ),
            silent=seen(
                "400m",
                ('headrace_feedback_total{kind="response",rating="down"}', "0+0.039x420"),
                ('headrace_feedback_total{kind="message",rating="up"}', "0+0.061x420"),
                ('headrace_feedback_total{kind="message",rating="none"}', "0+0.1x420"),
            ),
        ),
        Alert(
            name="FeedbackFails",
            expression='sum(increase(headrace_feedback_duration_seconds_count{outcome="error"}[15m])) > 3',
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="{{ $value | humanize }} ratings could not be stored in 15 minutes",
            dashboard="feedback",
            fires=seen("20m", ('headrace_feedback_duration_seconds_count{outcome="error"}', "0x10 4x20")),
            silent=seen(
                "20m",
                ('headrace_feedback_duration_seconds_count{outcome="error"}', "0x10 2x20"),
                ('headrace_feedback_duration_seconds_count{outcome="refused"}', "0+1x30"),
            ),
        ),
        Alert(
            name="FeedbackStopped",
            expression="sum(increase(headrace_feedback_total[12h])) == 0"
            " and sum(increase(headrace_assistant_requests_total[12h])) > 500",
            wait="1h",
            severity="info",
            owner="applications",
            summary="Nobody rated an answer for 12 hours, and there were many",
            dashboard="feedback",
            fires=seen(
                "800m",
                ('headrace_feedback_total{kind="response",rating="up"}', "40x820"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+1x820"),
            ),
            silent=seen(
                "800m",
                ('headrace_feedback_total{kind="response",rating="up"}', "40x700 41x120"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+1x820"),
            ),
        ),
    ),
)
