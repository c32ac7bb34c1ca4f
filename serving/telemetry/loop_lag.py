"""Lag of a process's event loop: whatever blocks it delays every request of the process."""

from __future__ import annotations

import asyncio
from typing import Literal

from serving.telemetry import metrics

INTERVAL_S = 0.25
"""Sampling interval in seconds. A blocked loop is observed once, with the length of its delay."""

Deployment = Literal["gateway", "retrieval"]


async def watch(deployment: Deployment) -> None:
    """Observes, until cancelled, by how many seconds this task is late."""
    seen = metrics.event_loop_lag_seconds.labels(deployment)
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        seen.observe(max(loop.time() - due, 0.0))
