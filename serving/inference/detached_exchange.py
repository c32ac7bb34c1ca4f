"""The exchange of a request in the background."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from serving.core.principal import Principal
from serving.inference.exchange import Exchange
from serving.protocol.errors import ApiError


async def _nowhere(data: bytes) -> None:
    """Discards the data."""


class DetachedExchange(Exchange):
    """An exchange in the background, for a caller who was identified earlier.

    Its stream is written to `sink`. `error` is how it failed after its stream began; `sink` does not get it, since the
    request may be tried again.
    """

    __slots__ = ("_sink", "error")

    def __init__(self, request_id: str, caller: Principal, sink: Callable[[bytes], Awaitable[None]] = _nowhere) -> None:
        super().__init__(request_id)
        self.principal = caller
        self.background = True
        self.error: ApiError | None = None
        self._sink = sink

    def fail(self, error: ApiError) -> None:
        """Records the error that it ends with."""
        super().fail(error)
        self.error = error

    async def start_stream(self) -> None:
        """Records that the answer has begun."""
        self.started = self.streamed = True

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Passes a part of the answer on."""
        if data and self.error is None:
            await self._sink(data)

    @contextlib.asynccontextmanager
    async def cancelled_by_hang_up(self) -> AsyncIterator[None]:
        """Runs the block; there is no connection that could be closed."""
        yield
