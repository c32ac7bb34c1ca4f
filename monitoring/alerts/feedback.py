"""Alerts about ratings: bad ones, missing ones, and those that cannot be stored."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.rule import Alert, Group

GROUP = Group(
    "alerts-feedback",
    (
        Alert(
            name="ThumbsDown",
            # With fewer than twenty ratings a share means little.
            expression='sum(increase(headrace_feedback_total{rating="down"}[6h]))'
            ' / sum(increase(headrace_feedback_total{rating=~"up|down"}[6h])) > 0.4'
            ' and sum(increase(headrace_feedback_total{rating=~"up|down"}[6h])) > 20',
            wait="15m",
            severity="ticket",
            owner="applications",
            summary="{{ $value | humanizePercentage }} of the ratings of the last 6 hours are thumbs down",
            dashboard="feedback",
            fires=alert_case(
                "400m",
                ('headrace_feedback_total{kind="response",rating="down"}', "0+0.05x420"),
                ('headrace_feedback_total{kind="message",rating="up"}', "0+0.05x420"),
            ),
            silent=alert_case(
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
            fires=alert_case("20m", ('headrace_feedback_duration_seconds_count{outcome="error"}', "0x10 4x20")),
            silent=alert_case(
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
            summary="No answer was rated for 12 hours, although there were many answers",
            dashboard="feedback",
            fires=alert_case(
                "800m",
                ('headrace_feedback_total{kind="response",rating="up"}', "40x820"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+1x820"),
            ),
            silent=alert_case(
                "800m",
                ('headrace_feedback_total{kind="response",rating="up"}', "40x700 41x120"),
                ('headrace_assistant_requests_total{assistant="docs",outcome="ok"}', "0+1x820"),
            ),
        ),
    ),
)
