"""A replica's leases are timed as Serve drives them: it asks for a second item, and cancels that to end the lease."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY

from serving.engines.measures.lease_times import FEW
from tests.contract.monitoring.incidents.stack import TWINS, Replicas

HELD_S = 0.01


async def test_a_lease_lasts_until_it_is_cancelled() -> None:
    replicas = Replicas({"timed": 9})
    for _ in range(FEW):
        lease = replicas.lease.remote("owner", "user")
        granted = await anext(lease)
        assert granted["replica"] == "timed"
        await asyncio.sleep(HELD_S)
        lease.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    labels = {"model": TWINS, "replica": "timed"}
    held = REGISTRY.get_sample_value("headrace_engine_lease_seconds", labels)
    assert held is not None
    assert held >= HELD_S
    assert REGISTRY.get_sample_value("headrace_engine_leases", {"model": TWINS}) == 0
