"""The dashboard of tenants, quotas and cost."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target, Variable
from monitoring.dashboards.query import largest, or_none, rate, series, share

TENANT = 'tenant=~"$tenant"'


def dashboard() -> Dashboard:
    """Returns the dashboard: usage, quotas and cost by tenant."""
    return Dashboard(
        "tenants",
        "Headrace / Tenants and cost",
        "Usage by tenant, its cost, and how much of each quota is left.",
        variables=(Variable("tenant", "Tenant", series("headrace_tenant_requests_total"), "tenant"),),
        rows=(Row("Use", _use()), Row("Quotas", _quotas()), Row("Cost", _cost())),
    )


def _use() -> tuple[Panel, ...]:
    requests = "headrace_tenant_requests_total"
    failed = share(rate(requests, "tenant", f'{TENANT},outcome="error"'), rate(requests, "tenant", TENANT))
    return (
        Panel(
            "Requests by tenant",
            "Completed requests per second.",
            "requests/s",
            (Target(rate(requests, "tenant", TENANT), "{{tenant}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Failed requests",
            "Share of a tenant's requests that failed with an error of the stack.",
            "ratio",
            (Target(failed, "{{tenant}}"),),
            steps=(Step(0.01, "yellow"), Step(0.05, "red")),
            width=6,
        ),
        Panel(
            "Tokens read",
            "Prompt tokens per second, by tenant.",
            "tokens/s",
            (Target(rate("headrace_prompt_tokens_total", "tenant", TENANT), "{{tenant}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Tokens written",
            "Tokens written by models per second, by tenant.",
            "tokens/s",
            (Target(rate("headrace_completion_tokens_total", "tenant", TENANT), "{{tenant}}"),),
            stacked=True,
            width=6,
        ),
    )


def _quotas() -> tuple[Panel, ...]:
    labels, legend = "tenant,measure,window", "{{tenant}} {{measure}} {{window}}"
    return (
        Panel(
            "Quota used",
            "Largest used share of a tenant's daily or monthly quota, as last reported. At 1, requests are rejected.",
            "ratio",
            (Target(largest("headrace_quota_used_ratio", labels, TENANT), legend),),
            steps=(Step(0.8, "yellow"), Step(1, "red")),
        ),
        Panel(
            "Rejected: quota exceeded",
            "Requests per second that were rejected because the quota was exhausted.",
            "requests/s",
            (Target(or_none(rate("headrace_quota_refused_total", labels, TENANT), "tenant"), legend),),
        ),
        Panel(
            "Quota warnings",
            "Answers per second with a warning that a quota is nearly exhausted.",
            "requests/s",
            (Target(or_none(rate("headrace_quota_warnings_total", labels, TENANT), "tenant"), legend),),
        ),
    )


def _cost() -> tuple[Panel, ...]:
    return (
        Panel(
            "Cost per hour by tenant",
            "Cost of a tenant's answers per hour at the current rate, in the currency of the price.",
            "currency",
            (
                Target(
                    f"3600*{rate('headrace_tenant_cost_total', 'tenant,currency', TENANT)}",
                    "{{tenant}} {{currency}}",
                ),
            ),
            stacked=True,
            width=12,
        ),
        Panel(
            "Cost per hour by model",
            "Cost of each model's answers per hour at the current rate.",
            "currency",
            (Target(f"3600*{rate('headrace_cost_total', 'model,currency')}", "{{model}} {{currency}}"),),
            stacked=True,
            width=12,
        ),
    )
