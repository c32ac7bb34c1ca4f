"""Who uses the stack, what it costs, and how much of a quota is left."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target, Variable
from monitoring.dashboards.query import largest, over, rate, series, total

TENANT = 'tenant=~"$tenant"'


def dashboard() -> Dashboard:
    """Use, quotas and cost by tenant, and what idle engines cost."""
    return Dashboard(
        "tenants",
        "Headrace / Tenants and cost",
        "Who uses the stack, what it costs, and how much of a quota is left.",
        variables=(Variable("tenant", "Tenant", series("headrace_tenant_requests_total"), "tenant"),),
        rows=(Row("Use", _use()), Row("Quotas", _quotas()), Row("Cost", _cost())),
    )


def _use() -> tuple[Panel, ...]:
    requests = "headrace_tenant_requests_total"
    failed = over(rate(requests, "tenant", f'{TENANT},outcome="error"'), rate(requests, "tenant", TENANT))
    return (
        Panel(
            "Requests by tenant",
            "Requests that ended, per second.",
            "requests/s",
            (Target(rate(requests, "tenant", TENANT), "{{tenant}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Failed requests",
            "Share of a tenant's requests that ended in an error of the stack.",
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
            "Tokens that models wrote per second, by tenant.",
            "tokens/s",
            (Target(rate("headrace_completion_tokens_total", "tenant", TENANT), "{{tenant}}"),),
            stacked=True,
            width=6,
        ),
    )


def _quotas() -> tuple[Panel, ...]:
    labels, legend = "tenant,measure,window", "{{tenant}} {{measure}} a {{window}}"
    return (
        Panel(
            "Quota used",
            "Largest share used of a tenant's budget of a day or month, as last seen. At 1 requests are refused.",
            "ratio",
            (Target(largest("headrace_quota_used_ratio", labels, TENANT), legend),),
            steps=(Step(0.8, "yellow"), Step(1, "red")),
        ),
        Panel(
            "Rejected: quota exceeded",
            "Requests per second that were refused since too little was left.",
            "requests/s",
            (Target(rate("headrace_quota_refused_total", labels, TENANT), legend),),
        ),
        Panel(
            "Quota warnings",
            "Answers per second that warned of a quota that is nearly used.",
            "requests/s",
            (Target(rate("headrace_quota_warnings_total", labels, TENANT), legend),),
        ),
    )


def _cost() -> tuple[Panel, ...]:
    price = largest("headrace_engine_price", "model,currency")
    slots = (f"headrace_engine_{which}_seconds_total" for which in ("busy", "available"))
    busy = over(*(rate(name, "model") for name in slots))
    idle = f"{price}*on(model) group_left() {total('headrace_engine_up', 'model')}*on(model) group_left() (1-{busy})"
    return (
        Panel(
            "Cost per hour by tenant",
            "What a tenant's answers cost in an hour at this rate, in the currency of the price.",
            "currency",
            (
                Target(
                    f"3600*{rate('headrace_tenant_cost_total', 'tenant,currency', TENANT)}",
                    "{{tenant}} {{currency}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Cost per hour by model",
            "What the answers of each model cost in an hour at this rate.",
            "currency",
            (Target(f"3600*{rate('headrace_cost_total', 'model,currency')}", "{{model}} {{currency}}"),),
            stacked=True,
        ),
        Panel(
            "Idle cost per hour",
            "What engines cost in an hour while nobody uses them: their price by the share of slots that stand free. "
            "Only engines whose price is configured.",
            "currency",
            (Target(idle, "{{model}} {{currency}}"),),
            stacked=True,
        ),
    )
