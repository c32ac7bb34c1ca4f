"""How late a process's event loop runs: whatever blocks it blocks every request of the process."""

from __future__ import annotations

import asyncio
from typing import Literal

from serving.telemetry import metrics

INTERVAL_S = 0.25
"""Seconds between two looks. A loop that stands still is seen once, by as much as it was late."""

Deployment = Literal["gateway", "retrieval"]


async def watch(deployment: Deployment) -> None:
    """Observes, until it is cancelled, how many seconds after its time this task goes on."""
    seen = metrics.event_loop_lag_seconds.labels(deployment)
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        seen.observe(max(loop.time() - due, 0.0))
