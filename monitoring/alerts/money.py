"""Alerts about budgets and costs."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.rule import Alert, Group

_SAME_HOUR = ("1d", "7d")


def _unusual(labels: str, metric: str) -> str:
    """Returns a condition that the same hour of yesterday or of a week ago did not cost half as much.

    The first busy hour after a night or a weekend costs many times the average of the hours before.
    """
    spent = f"sum by ({labels}) (increase({metric}[1h]"
    return "".join(f" unless on ({labels}) {spent})) < 2 * {spent} offset {ago}))" for ago in _SAME_HOUR)


GROUP = Group(
    "alerts-money",
    (
        Alert(
            name="QuotaNear",
            expression="max by (tenant, measure, window) (headrace_quota_used_ratio) > 0.9",
            wait="5m",
            severity="info",
            owner="applications",
            summary="{{ $labels.tenant }} has used {{ $value | humanizePercentage }} of its {{ $labels.measure }}"
            " quota for this {{ $labels.window }}",
            dashboard="tenants",
            fires=alert_case(
                "10m", ('headrace_quota_used_ratio{tenant="acme",measure="money",window="month"}', "0.91x20")
            ),
            silent=alert_case(
                "10m", ('headrace_quota_used_ratio{tenant="acme",measure="money",window="month"}', "0.9x20")
            ),
        ),
        Alert(
            name="QuotaUsedUp",
            expression="sum by (tenant, measure, window)"
            ' (increase(headrace_quota_refused_total{window=~"day|month"}[30m])) > 10',
            wait="0m",
            severity="ticket",
            owner="applications",
            summary="{{ $value | humanize }} requests of {{ $labels.tenant }} were rejected in 30 minutes: its"
            " {{ $labels.measure }} quota for this {{ $labels.window }} is exhausted",
            dashboard="tenants",
            fires=alert_case(
                "40m", ('headrace_quota_refused_total{tenant="acme",measure="tokens",window="day"}', "0x20 11x30")
            ),
            silent=alert_case(
                "40m",
                ('headrace_quota_refused_total{tenant="acme",measure="tokens",window="day"}', "0x20 9x30"),
                ('headrace_quota_refused_total{tenant="acme",measure="requests",window="minute"}', "0+30x50"),
            ),
        ),
        Alert(
            name="CostAnomaly",
            expression="sum by (currency) (increase(headrace_cost_total[1h]))"
            " > 4 * sum by (currency) (increase(headrace_cost_total[12h] offset 1h)) / 12"
            " and sum by (currency) (increase(headrace_cost_total[1h])) > 1"
            f"{_unusual('currency', 'headrace_cost_total')}",
            wait="10m",
            severity="ticket",
            owner="applications",
            summary="Answers in the last hour cost {{ $value | humanize }} {{ $labels.currency }},"
            " more than four times the previous hourly average",
            dashboard="tenants",
            fires=alert_case("850m", ('headrace_cost_total{model="large",currency="USD"}', "0+0.1x780 78+0.5x80")),
            silent=alert_case("850m", ('headrace_cost_total{model="large",currency="USD"}', "0+0.1x780 78+0.38x80")),
        ),
        Alert(
            name="TenantCostAnomaly",
            expression="sum by (tenant, currency) (increase(headrace_tenant_cost_total[1h]))"
            " > 6 * sum by (tenant, currency) (increase(headrace_tenant_cost_total[12h] offset 1h)) / 12"
            " and sum by (tenant, currency) (increase(headrace_tenant_cost_total[1h])) > 1"
            f"{_unusual('tenant, currency', 'headrace_tenant_cost_total')}",
            wait="10m",
            severity="info",
            owner="applications",
            summary="{{ $labels.tenant }} spent {{ $value | humanize }} {{ $labels.currency }} in the last hour,"
            " more than six times its previous hourly average",
            dashboard="tenants",
            fires=alert_case(
                "850m",
                ('headrace_tenant_cost_total{tenant="acme",model="large",currency="USD"}', "0+0.1x780 78+0.8x80"),
            ),
            silent=alert_case(
                "850m",
                ('headrace_tenant_cost_total{tenant="acme",model="large",currency="USD"}', "0+0.1x780 78+0.57x80"),
            ),
        ),
        Alert(
            name="EngineIdle",
            expression="sum by (model) (increase(headrace_engine_busy_seconds_total[6h]))"
            " / sum by (model) (increase(headrace_engine_available_seconds_total[6h])) < 0.02"
            " and on (model) max by (model) (headrace_engine_price) > 0",
            wait="30m",
            severity="info",
            owner="models",
            summary="{{ $labels.model }} is paid for, but was in use for {{ $value | humanizePercentage }} of 6 hours",
            dashboard="models",
            fires=alert_case(
                "400m",
                ('headrace_engine_busy_seconds_total{model="large"}', "0+1x420"),
                ('headrace_engine_available_seconds_total{model="large"}', "0+60x420"),
                ('headrace_engine_price{model="large",currency="USD"}', "2x420"),
            ),
            silent=alert_case(
                "400m",
                ('headrace_engine_busy_seconds_total{model="large"}', "0+1.3x420"),
                ('headrace_engine_available_seconds_total{model="large"}', "0+60x420"),
                ('headrace_engine_price{model="large",currency="USD"}', "2x420"),
                ('headrace_engine_busy_seconds_total{model="own"}', "0x420"),
                ('headrace_engine_available_seconds_total{model="own"}', "0+60x420"),
            ),
        ),
    ),
)
