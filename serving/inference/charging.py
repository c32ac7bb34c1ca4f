"""Charges a request to its caller's quotas while it is answered."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from serving.inference.exchange import Exchange
from serving.metering.charge import Charge
from serving.metering.keeper import Keeper


@contextlib.asynccontextmanager
async def charged(
    keeper: Keeper, x: Exchange, *, stream: bool = False, model: str | None = None
) -> AsyncIterator[Charge]:
    """Charges the work inside the block to the caller; raises `ApiError` when a quota is exceeded.

    `model` is the requested one, by default the exchange's.
    """
    requests = 0 if x.paid else 1
    run = x.run  # its request and stream are counted already
    charge = x.charge = Charge(
        keeper,
        x.caller,
        x.model if model is None else model,
        requests=requests,
        told=run.spent if run is not None else None,
    )
    try:
        await charge.admit(stream=stream and not x.background and run is None)
        yield charge
    finally:
        charge.end()


@contextlib.asynccontextmanager
async def held_as_stream(keeper: Keeper, x: Exchange) -> AsyncIterator[None]:
    """Counts the block among the caller's streams, but not as a request. Raises `ApiError` when a quota is exceeded."""
    charge = Charge(keeper, x.caller, "", requests=0)
    try:
        await charge.admit(stream=True)
        yield
    finally:
        charge.end()
