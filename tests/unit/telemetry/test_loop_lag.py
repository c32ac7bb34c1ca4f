"""A loop that stands still is seen."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from prometheus_client import REGISTRY

from serving.telemetry import loop_lag


def seen(name: str) -> float:
    return REGISTRY.get_sample_value(f"headrace_event_loop_lag_seconds_{name}", {"deployment": "gateway"}) or 0.0


async def stand_still(seconds: float) -> None:
    watching = asyncio.create_task(loop_lag.watch("gateway"))
    await asyncio.sleep(0)
    time.sleep(seconds)  # noqa: ASYNC251  # what must not happen
    before = seen("count")
    while seen("count") == before:
        await asyncio.sleep(0)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


def test_a_blocked_loop_is_observed_once_with_its_delay() -> None:
    late, looks = seen("sum"), seen("count")
    asyncio.run(stand_still(loop_lag.INTERVAL_S + 0.2))
    assert seen("sum") - late >= 0.2
    assert seen("count") - looks == 1
