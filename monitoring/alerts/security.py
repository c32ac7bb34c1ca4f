"""Alerts about unauthorised callers, guardrails, the sandbox and certificates."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.objectives import API
from monitoring.rule import Alert, Group

_CERTIFICATE = '{namespace="headrace",name="assistants-tls"}'
_DAY_S = 86400

GROUP = Group(
    "alerts-security",
    (
        Alert(
            name="AuthenticationFailures",
            expression='sum(rate(headrace_errors_total{code=~"invalid_api_key|invalid_token"}[5m])) > 1',
            wait="10m",
            severity="ticket",
            owner="security",
            summary="{{ $value | humanize }} requests per second have an invalid key or token",
            dashboard="overview",
            fires=alert_case(
                "20m",
                ('headrace_errors_total{route="/v1/models",code="invalid_api_key",outcome="refused"}', "0+40x30"),
                (
                    'headrace_errors_total{route="/v1/chat/completions",code="invalid_token",outcome="refused"}',
                    "0+25x30",
                ),
            ),
            silent=alert_case(
                "20m", ('headrace_errors_total{route="/v1/models",code="invalid_api_key",outcome="refused"}', "0+59x30")
            ),
        ),
        Alert(
            name="ForbiddenRequests",
            expression="sum(increase(headrace_errors_total"
            '{code=~"insufficient_scope|access_denied|cross_origin|invalid_csrf_token|foreign_approval"}[15m])) > 50',
            wait="0m",
            severity="ticket",
            owner="security",
            summary="{{ $value | humanize }} requests in 15 minutes were rejected as forbidden",
            dashboard="overview",
            fires=alert_case(
                "20m",
                ('headrace_errors_total{route="/v1/admin/keys",code="insufficient_scope",outcome="refused"}', "0+4x30"),
            ),
            silent=alert_case(
                "20m",
                ('headrace_errors_total{route="/v1/admin/keys",code="insufficient_scope",outcome="refused"}', "0+3x30"),
            ),
        ),
        Alert(
            name="GuardrailSpike",
            expression='sum by (check) (increase(headrace_guardrail_total{action="block"}[15m])) > 20'
            ' and sum by (check) (increase(headrace_guardrail_total{action="block"}[15m]))'
            ' > 5 * sum by (check) (increase(headrace_guardrail_total{action="block"}[6h] offset 15m)) / 24',
            wait="0m",
            severity="ticket",
            owner="security",
            summary="The guardrail {{ $labels.check }} blocked {{ $value | humanize }} times in 15 minutes,"
            " more than five times as often as before",
            dashboard="assistants",
            fires=alert_case(
                "380m", ('headrace_guardrail_total{check="topics",on="input",action="block"}', "0+0.3x365 110+3x30")
            ),
            silent=alert_case(
                "380m",
                ('headrace_guardrail_total{check="topics",on="input",action="block"}', "0+0.5x365 183+2.4x30"),
                ('headrace_guardrail_total{check="links",on="output",action="redact"}', "0x365 0+9x30"),
            ),
        ),
        Alert(
            name="InjectionInContext",
            expression='sum(increase(headrace_guardrail_total{check="injection",on="context"}[1h])) > 5',
            wait="0m",
            severity="ticket",
            owner="security",
            summary="{{ $value | humanize }} retrieved passages or tool results contained instructions to the model",
            dashboard="assistants",
            fires=alert_case(
                "70m", ('headrace_guardrail_total{check="injection",on="context",action="redact"}', "0x30 6x60")
            ),
            silent=alert_case(
                "70m",
                ('headrace_guardrail_total{check="injection",on="context",action="redact"}', "0x30 4x60"),
                ('headrace_guardrail_total{check="injection",on="input",action="block"}', "0+1x90"),
            ),
        ),
        Alert(
            name="PiiInAnswers",
            expression='sum by (action) (increase(headrace_guardrail_total{check="pii",on="output"}[1h])) > 10',
            wait="0m",
            severity="ticket",
            owner="security",
            summary="Personal data was found in answers {{ $value | humanize }} times in 1 hour ({{ $labels.action }})",
            dashboard="assistants",
            fires=alert_case(
                "70m", ('headrace_guardrail_total{check="pii",on="output",action="redact"}', "0x30 11x60")
            ),
            silent=alert_case(
                "70m", ('headrace_guardrail_total{check="pii",on="output",action="redact"}', "0x30 9x60")
            ),
        ),
        Alert(
            name="PiiInQuestions",
            expression='sum(increase(headrace_guardrail_total{check="pii",on="input"}[1h]))'
            f" / sum(increase(headrace_requests_started_total{{{API}}}[1h])) > 0.1",
            wait="15m",
            severity="info",
            owner="security",
            summary="Personal data was found in questions, {{ $value | humanizePercentage }} as often as requests came",
            dashboard="assistants",
            fires=alert_case(
                "90m",
                ('headrace_guardrail_total{check="pii",on="input",action="flag"}', "0+11x100"),
                ('headrace_requests_started_total{route="/v1/chat/completions"}', "0+100x100"),
            ),
            silent=alert_case(
                "90m",
                ('headrace_guardrail_total{check="pii",on="input",action="flag"}', "0+9x100"),
                ('headrace_requests_started_total{route="/v1/chat/completions"}', "0+100x100"),
            ),
        ),
        Alert(
            name="SecretsInAnswers",
            expression='sum(increase(headrace_guardrail_total{check="secrets",on="output"}[30m])) > 0',
            wait="0m",
            severity="page",
            owner="security",
            summary="An answer contained a secret",
            dashboard="assistants",
            fires=alert_case(
                "20m", ('headrace_guardrail_total{check="secrets",on="output",action="redact"}', "0x10 1x20")
            ),
            silent=alert_case(
                "50m",
                ('headrace_guardrail_total{check="secrets",on="output",action="redact"}', "0x10 1x50"),
                ('headrace_guardrail_total{check="secrets",on="input",action="redact"}', "0+1x60"),
            ),
        ),
        Alert(
            name="SandboxCrashes",
            expression='sum(increase(headrace_sandbox_runs_total{outcome="crashed"}[15m])) > 2',
            wait="0m",
            severity="ticket",
            owner="security",
            summary="Programs written by a model crashed the sandbox {{ $value | humanize }} times in 15 minutes",
            dashboard="assistants",
            fires=alert_case("20m", ('headrace_sandbox_runs_total{outcome="crashed"}', "0x10 1x3 3x10")),
            silent=alert_case(
                "20m",
                ('headrace_sandbox_runs_total{outcome="crashed"}', "0x10 1x15"),
                ('headrace_sandbox_runs_total{outcome="error"}', "0+3x30"),
            ),
        ),
        Alert(
            name="SandboxLimits",
            expression='sum(increase(headrace_sandbox_runs_total{outcome="limit"}[30m]))'
            " / sum(increase(headrace_sandbox_runs_total[30m])) > 0.3"
            ' and sum(increase(headrace_sandbox_runs_total{outcome="limit"}[30m])) > 10',
            wait="10m",
            severity="ticket",
            owner="applications",
            summary="{{ $value | humanizePercentage }} of the models' programs hit a limit of the sandbox",
            dashboard="assistants",
            fires=alert_case(
                "50m",
                ('headrace_sandbox_runs_total{outcome="limit"}', "0+4x60"),
                ('headrace_sandbox_runs_total{outcome="ok"}', "0+6x60"),
            ),
            silent=alert_case(
                "50m",
                ('headrace_sandbox_runs_total{outcome="limit"}', "0+29x60"),
                ('headrace_sandbox_runs_total{outcome="ok"}', "0+71x60"),
            ),
        ),
        Alert(
            name="CertificateExpiring",
            # cert-manager renews a 90-day certificate 30 days before it expires: at 14 days it has failed for 16.
            expression="min by (namespace, name) (certmanager_certificate_expiration_timestamp_seconds) - time()"
            f" < {14 * _DAY_S}",
            wait="1h",
            severity="ticket",
            owner="platform",
            summary="The certificate {{ $labels.name }} expires in {{ $value | humanizeDuration }}",
            dashboard="overview",
            fires=alert_case(
                "70m",
                (f"certmanager_certificate_expiration_timestamp_seconds{_CERTIFICATE}", f"{14 * _DAY_S}x80"),
            ),
            silent=alert_case(
                "70m",
                (f"certmanager_certificate_expiration_timestamp_seconds{_CERTIFICATE}", f"{14 * _DAY_S + 4500}x80"),
            ),
        ),
        Alert(
            name="CertificateNotReady",
            expression='min by (namespace, name) (certmanager_certificate_ready_status{condition="True"}) == 0',
            wait="30m",
            severity="ticket",
            owner="platform",
            summary="The certificate {{ $labels.name }} is not ready: it was not issued, or has expired",
            dashboard="overview",
            fires=alert_case(
                "40m",
                (f'certmanager_certificate_ready_status{{{_CERTIFICATE[1:-1]},condition="True"}}', "0x60"),
            ),
            # Issued within minutes, and another condition.
            silent=alert_case(
                "40m",
                (f'certmanager_certificate_ready_status{{{_CERTIFICATE[1:-1]},condition="True"}}', "0x10 1x50"),
                (f'certmanager_certificate_ready_status{{{_CERTIFICATE[1:-1]},condition="False"}}', "0x60"),
            ),
        ),
        Alert(
            name="CertificateAboutToEnd",
            expression="min by (namespace, name) (certmanager_certificate_expiration_timestamp_seconds) - time()"
            f" < {2 * _DAY_S}",
            wait="5m",
            severity="page",
            owner="platform",
            summary="The certificate {{ $labels.name }} expires in {{ $value | humanizeDuration }}, then clients fail",
            dashboard="overview",
            fires=alert_case(
                "15m", (f"certmanager_certificate_expiration_timestamp_seconds{_CERTIFICATE}", f"{2 * _DAY_S}x20")
            ),
            silent=alert_case(
                "15m",
                (f"certmanager_certificate_expiration_timestamp_seconds{_CERTIFICATE}", f"{2 * _DAY_S + 1000}x20"),
            ),
        ),
    ),
)
