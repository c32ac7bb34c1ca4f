"""The hold of a request on its key."""

from __future__ import annotations

import asyncio

from serving.inference.idempotency_hold import Hold


async def test_no_renewal_ends_after_a_pin(monkeypatch):
    """It would shorten what was to be held whatever comes."""
    monkeypatch.setattr("serving.inference.idempotency_hold.LEASE_S", 0.03)
    begun, go, done = asyncio.Event(), asyncio.Event(), []

    class Keys:
        async def renew(self, claim):
            begun.set()
            await go.wait()
            done.append("renewed")

        async def pin(self, claim):
            done.append("pinned")

    hold = Hold(Keys(), None)
    renewing = asyncio.create_task(hold.renew())
    await begun.wait()
    pinning = asyncio.create_task(hold.pin())
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(pinning, renewing)
    assert done == ["renewed", "pinned"]
