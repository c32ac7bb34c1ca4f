"""The sandbox of a process, opened on first use: its workers need memory that many gateways never use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from serving.assistants.sandbox.pool import Sandbox, open_sandbox


class SandboxOnDemand:
    """Opens one sandbox for all users of it, with `opened`."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[Sandbox]] = open_sandbox) -> None:
        self._open = opened
        self._stack = contextlib.AsyncExitStack()
        self._opening: asyncio.Task[Sandbox] | None = None

    async def get(self) -> Sandbox:
        """Returns the sandbox; raises `SandboxUnavailable`, and tries again the next time."""
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(self._stack.enter_async_context(self._open()))
        # A caller that disconnects meanwhile must not cancel it for the others.
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Terminates the workers."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
        await self._stack.aclose()
