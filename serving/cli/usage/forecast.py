"""The forecast of a month's usage, from `/v1/admin/usage` and `/v1/admin/quotas`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import click

from serving.cli.client import Stack
from serving.cli.usage.rows import MOST_ROWS, REQUESTS, TOKENS, Quantity, amounts, usage_rows
from serving.metering import forecast
from serving.metering.invoice import plain

COLUMNS = (
    *("tenant", "model", "measure", "currency", "so_far", "forecast", "low", "high"),
    *("budget", "budget_used", "used_up_on", "note"),
)

Daily = dict[Quantity, dict[date, Decimal]]


@dataclass(frozen=True, slots=True)
class _MonthlyQuota:
    """A monthly quota; `used` is None for a default of the configuration, whose use nobody says."""

    limit: Decimal
    used: Decimal | None


Budgets = Mapping[str | None, Mapping[Quantity, list[_MonthlyQuota]]]
"""By the model, or None for the whole tenant."""


def forecasts(stack: Stack, tenants: list[str], now: datetime) -> list[dict[str, Any]]:
    """Returns a row for each tenant, each of its models and each measure; `now` is in UTC.

    The rows of a tenant as a whole have no model. Their forecast is made from the tenant's own days, so that it may
    differ from the sum of the models' forecasts.
    """
    may_read_quotas = "admin" in stack.get("/me")["scopes"]
    if not may_read_quotas:
        click.echo("Quotas are left out: reading them requires a key with the scope admin.", err=True)
    defaults = _defaults(stack) if may_read_quotas else {}
    return [
        row
        for tenant in tenants
        for row in _of_tenant(stack, tenant, now, _budgets(stack, tenant, defaults) if may_read_quotas else {})
    ]


def _of_tenant(stack: Stack, tenant: str, now: datetime, budgets: Budgets) -> Iterator[dict[str, Any]]:
    today = now.date()
    start = forecast.history_start(today)
    used = sorted(usage_rows(stack, tenant, start, today, "model"))
    models: list[str | None] = [None, *sorted({*used, *(model for model in budgets if model is not None)})]
    for model in models:
        read = model is None or model in used
        days = usage_rows(stack, tenant, start, today, "day", model) if read else {}
        daily: Daily = {}
        for day, row in days.items():
            for measured, amount in amounts(row).items():
                daily.setdefault(measured, {})[date.fromisoformat(day)] = amount
        limits = budgets.get(model, {})
        money = sorted(each for each in {*daily, *limits} if each.measure == "money")
        for measured in (REQUESTS, TOKENS, *money):
            yield {
                "object": "usage.forecast",
                "tenant": tenant,
                "model": model,
                "measure": measured.measure,
                "currency": measured.currency or None,
                **_row(measured, daily.get(measured, {}), limits.get(measured, []), now),
            }


def _row(
    measured: Quantity, daily: Mapping[date, Decimal], budgets: list[_MonthlyQuota], now: datetime
) -> dict[str, Any]:
    """Returns the numbers of a row: what was used is exact, what is forecast is rounded."""
    today = now.date()
    month = {day: amount for day, amount in daily.items() if day >= today.replace(day=1)}
    so_far = sum(month.values(), Decimal(0))
    try:
        ahead = forecast.forecast({day: float(amount) for day, amount in daily.items()}, now)
        note = None
    except forecast.TooLittleHistory as e:
        ahead, note = None, str(e)
    ends = (ahead.expected, ahead.low, ahead.high) if ahead else (None, None, None)
    shown = [_amount(measured, so_far + _rounded(measured, each)) if each is not None else None for each in ends]
    left = min(budgets, key=lambda each: each.limit - _used(each, so_far), default=None)
    used_up_on = None
    if left is not None:
        if _used(left, so_far) >= left.limit:
            before = max(so_far - _used(left, so_far), Decimal(0))
            used_up_on, note = _reached_on(month, before, left.limit, today), "the budget is used up"
        elif ahead is not None:
            used_up_on = ahead.used_up_on(float(left.limit - _used(left, so_far)))
    return {
        "so_far": _amount(measured, so_far),
        **dict(zip(("forecast", "low", "high"), shown, strict=True)),
        "budget": _amount(measured, left.limit) if left else None,
        "budget_used": _amount(measured, _used(left, so_far)) if left else None,
        "used_up_on": used_up_on.isoformat() if used_up_on else None,
        "note": note,
    }


def _used(budget: _MonthlyQuota, so_far: Decimal) -> Decimal:
    return so_far if budget.used is None else budget.used


def _reached_on(month: Mapping[date, Decimal], before: Decimal, limit: Decimal, today: date) -> date:
    """Returns the day on which this month's usage reached a limit that was set when `before` had been used.

    It is today if the usage is below it: a quota also counts what requests reserved whose use is unknown.
    """
    used = -before
    for day in sorted(month):
        used += month[day]
        if used > 0 and used >= limit:
            return day
    return today


def _rounded(measured: Quantity, amount: float) -> Decimal:
    """Returns whole requests and tokens; of money four digits, and no less than two decimal places."""
    if measured.measure != "money":
        return Decimal(round(amount))
    places = 2 if amount <= 0 else min(max(2, 3 - math.floor(math.log10(amount))), 9)
    return Decimal(str(round(amount, places)))


def _amount(measured: Quantity, amount: Decimal) -> int | str:
    return plain(amount) if measured.measure == "money" else int(amount)


def _budgets(stack: Stack, tenant: str, defaults: Mapping[Quantity, _MonthlyQuota]) -> Budgets:
    """Returns the monthly quotas of a tenant and of its models."""
    found: dict[str | None, dict[Quantity, list[_MonthlyQuota]]] = {None: {}}
    placed = set()
    for subject in ("tenant", "model"):
        for each in stack.list("/admin/quotas", MOST_ROWS, subject=subject, tenant=tenant)["data"]:
            if each["window"] == "month":
                model = each["id"] if subject == "model" else None
                measured = Quantity(each["measure"], each["currency"] or "")
                budget = _MonthlyQuota(Decimal(each["limit"]), Decimal(each["used"]))
                found.setdefault(model, {}).setdefault(measured, []).append(budget)
                if model is None and each["set_by"] == "platform":
                    placed.add(measured)
    for measured, budget in defaults.items():
        if measured not in placed:  # only the platform replaces a default for tenants
            found[None].setdefault(measured, []).append(budget)
    return found


def _defaults(stack: Stack) -> dict[Quantity, _MonthlyQuota]:
    """Returns the configuration's monthly quotas of each tenant."""
    return {
        Quantity(each["measure"], each["currency"] or ""): _MonthlyQuota(Decimal(each["limit"]), None)
        for each in stack.get("/admin/quotas/defaults")["data"]
        if each["subject"] == "tenant" and each["window"] == "month"
    }
