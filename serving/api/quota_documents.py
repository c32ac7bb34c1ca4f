"""Quotas in the API's format."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from serving.api.services import Services
from serving.core.ids import now
from serving.quotas.quota import Quota, amount
from serving.quotas.share import Standing
from serving.quotas.windows import bounds


async def quota_documents(s: Services, quotas: Sequence[Quota]) -> list[dict[str, Any]]:
    """Returns quotas in the API's format, with the usage in their current windows."""
    at = now()
    windows = {each.id: bounds(each.window, at) for each in quotas}
    stand = await s.quotas.standings((id, start) for id, (start, _) in windows.items())
    stand |= await s.quotas.stored_bytes(quotas)
    return [_quota(each, stand.get(each.id, Standing(0, 0)), windows[each.id][1]) for each in quotas]


def _quota(quota: Quota, standing: Standing, end: float) -> dict[str, Any]:
    timed = quota.window not in ("concurrent", "total")
    known = quota.window != "concurrent"
    return {
        "object": "quota",
        "quota_id": quota.id,
        "subject": quota.subject,
        "id": quota.subject_id,
        "window": quota.window,
        "measure": quota.measure,
        "currency": quota.currency or None,
        "limit": amount_field(quota, quota.limit),
        "set_by": quota.set_by,
        "used": amount_field(quota, standing.used) if known else None,
        "reserved": amount_field(quota, max(standing.taken - standing.used, 0)) if timed else None,
        "resets_at": datetime.fromtimestamp(end, UTC).isoformat().replace("+00:00", "Z") if timed else None,
    }


def amount_field(quota: Quota, units: int) -> int | str:
    """Returns an amount; money is a decimal number in a string, since a binary number would round it."""
    return f"{amount(units, quota.measure).normalize():f}" if quota.measure == "money" else units
