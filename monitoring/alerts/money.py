"""Alerts about budgets and costs."""

from __future__ import annotations

from monitoring.alerts.seen import seen
from monitoring.rule import Alert, Group

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
            " of this {{ $labels.window }}",
            dashboard="tenants",
            fires=seen("10m", ('headrace_quota_used_ratio{tenant="acme",measure="money",window="month"}', "0.91x20")),
            silent=seen("10m", ('headrace_quota_used_ratio{tenant="acme",measure="money",window="month"}', "0.9x20")),
        ),
        Alert(
            name="QuotaUsedUp",
            expression="sum by (tenant, measure, window)"
            ' (increase(headrace_quota_refused_total{window=~"day|month"}[30m])) > 10',
            wait="0m",
            severity="ticket",
            owner="applications",
            summary="{{ $labels.tenant }} was refused {{ $value | humanize }} times in 30 minutes, since its"
            " {{ $labels.measure }} of this {{ $labels.window }} are used up",
            dashboard="tenants",
            fires=seen(
                "40m", ('headrace_quota_refused_total{tenant="acme",measure="tokens",window="day"}', "0x20 11x30")
            ),
            silent=seen(
                "40m",
                ('headrace_quota_refused_total{tenant="acme",measure="tokens",window="day"}', "0x20 9x30"),
                ('headrace_quota_refused_total{tenant="acme",measure="requests",window="minute"}', "0+30x50"),
            ),
        ),
        Alert(
            name="CostAnomaly",
            expression="sum by (currency) (increase(headrace_cost_total[1h]))"
            " > 4 * sum by (currency) (increase(headrace_cost_total[12h] offset 1h)) / 12"
            " and sum by (currency) (increase(headrace_cost_total[1h])) > 1",
            wait="10m",
            severity="ticket",
            owner="applications",
            summary="Answers of the last hour cost {{ $value | humanize }} {{ $labels.currency }},"
            " four times what an hour did before",
            dashboard="tenants",
            fires=seen("850m", ('headrace_cost_total{model="large",currency="USD"}', "0+0.1x780 78+0.5x80")),
            silent=seen("850m", ('headrace_cost_total{model="large",currency="USD"}', "0+0.1x780 78+0.38x80")),
        ),
        Alert(
            name="TenantCostAnomaly",
            expression="sum by (tenant, currency) (increase(headrace_tenant_cost_total[1h]))"
            " > 6 * sum by (tenant, currency) (increase(headrace_tenant_cost_total[12h] offset 1h)) / 12"
            " and sum by (tenant, currency) (increase(headrace_tenant_cost_total[1h])) > 1",
            wait="10m",
            severity="info",
            owner="applications",
            summary="{{ $labels.tenant }} spent {{ $value | humanize }} {{ $labels.currency }} in the last hour,"
            " six times what an hour did before",
            dashboard="tenants",
            fires=seen("850m", ('headrace_tenant_cost_total{tenant="acme",currency="USD"}', "0+0.1x780 78+0.8x80")),
            silent=seen("850m", ('headrace_tenant_cost_total{tenant="acme",currency="USD"}', "0+0.1x780 78+0.57x80")),
        ),
        Alert(
            name="EngineIdle",
            expression="sum by (model) (increase(headrace_engine_busy_seconds_total[6h]))"
            " / sum by (model) (increase(headrace_engine_available_seconds_total[6h])) < 0.02"
            " and on (model) max by (model) (headrace_engine_price) > 0",
            wait="30m",
            severity="info",
            owner="models",
            summary="{{ $labels.model }} costs money and was used {{ $value | humanizePercentage }} of 6 hours",
            dashboard="models",
            fires=seen(
                "400m",
                ('headrace_engine_busy_seconds_total{model="large"}', "0+1x420"),
                ('headrace_engine_available_seconds_total{model="large"}', "0+60x420"),
                ('headrace_engine_price{model="large",currency="USD"}', "2x420"),
            ),
            silent=seen(
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
