"""The dashboard of capacity and money."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target, Variable
from monitoring.dashboards.query import largest, quotient, rate, series, served_models, total

MODEL = 'model=~"$model"'
TENANT = 'tenant=~"$tenant"'


def dashboard() -> Dashboard:
    """Returns the dashboard: how much more each model can take, and what answers and idle engines cost."""
    return Dashboard(
        "capacity",
        "Headrace / Capacity and money",
        "How much more each model can take, and what answers and idle engines cost.",
        variables=(
            served_models(),
            Variable("tenant", "Tenant", series("headrace_tenant_requests_total"), "tenant"),
        ),
        rows=(Row("Headroom", _headroom()), Row("Money", _money())),
    )


def _busy() -> str:
    """Returns the mean number of slots in use, by model."""
    return rate("headrace_engine_busy_seconds_total", "model", MODEL)


def _available() -> str:
    return rate("headrace_engine_available_seconds_total", "model", MODEL)


def _headroom() -> tuple[Panel, ...]:
    requests = rate("headrace_request_duration_seconds_count", "model", f'{MODEL},outcome!="refused"')
    up = total("headrace_engine_up", "model", MODEL)
    return (
        Panel(
            "Headroom",
            "Share of the slot-seconds of a model's engines that no request used. Near 0, further requests wait.",
            "ratio",
            (Target(f"1-{quotient(_busy(), _available())}", "{{model}}"),),
            steps=(Step(0.1, "yellow"), Step(0.25, "green")),
            base="red",
        ),
        Panel(
            "Requests that still fit",
            "Further requests per second that a model could take if they held its slots as long as current ones do. "
            "Empty while no request holds one.",
            "requests/s",
            (Target(f"{requests}*({quotient(_available(), _busy())}-1)", "{{model}}"),),
        ),
        Panel(
            "Replicas in use",
            "Replicas that the current requests of a model would fill, and those that answer.",
            "1",
            (
                Target(f"{quotient(_busy(), _available())}*{up}", "{{model}} needed"),
                Target(up, "{{model}} up"),
            ),
        ),
    )


def _money() -> tuple[Panel, ...]:
    price = largest("headrace_engine_price", "model,currency", MODEL)
    idle = f"(1-{quotient(_busy(), _available())})"
    up = total("headrace_engine_up", "model", MODEL)
    read, written = (rate(f"headrace_{kind}_tokens_total", "model", MODEL) for kind in ("prompt", "completion"))
    # An embedder writes none.
    tokens = f"(({read}+{written}) or {read})"
    return (
        Panel(
            "Cost per hour by tenant and model",
            "Cost of a tenant's answers per hour at the current rate, by the model that served.",
            "currency",
            (
                Target(
                    f"3600*{rate('headrace_tenant_cost_total', 'tenant,model,currency', f'{TENANT},{MODEL}')}",
                    "{{tenant}} {{model}} {{currency}}",
                ),
            ),
            stacked=True,
            width=12,
        ),
        Panel(
            "Cost of this month",
            "Cost of a tenant's answers since the first of this month (UTC), as `/v1/admin/usage` reports it.",
            "currency",
            (Target(largest("headrace_month_to_date_cost", "tenant,currency", TENANT), "{{tenant}} {{currency}}"),),
            width=12,
        ),
        Panel(
            "Cost per million tokens",
            "Average cost of a million tokens of a model, read and written ones together, at its price.",
            "currency",
            (
                Target(
                    f"1e6*{rate('headrace_cost_total', 'model,currency', MODEL)}/on(model) group_left() ({tokens}>0)",
                    "{{model}} {{currency}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "Idle cost per hour",
            "Cost of idle engines per hour: their price times the share of free slots. "
            "Only engines with a configured price count.",
            "currency",
            (Target(f"{price}*on(model) group_left() {up}*on(model) group_left() {idle}", "{{model}} {{currency}}"),),
            stacked=True,
            width=12,
        ),
    )
