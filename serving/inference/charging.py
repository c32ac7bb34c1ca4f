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
    """Charges what happens inside to the caller; raises `ApiError` when a quota does not allow it.

    `model` is what is asked, by default the exchange's.
    """
    requests = 0 if x.paid else 1
    run = x.run  # whose request and stream are counted already
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
    """Counts what happens inside among the caller's streams, and as no request of any model.

    Raises `ApiError` when a quota does not allow it.
    """
    charge = Charge(keeper, x.caller, "", requests=0)
    try:
        await charge.admit(stream=True)
        yield
    finally:
        charge.end()
