"""How many replicas of each model can answer, as Ray Serve's controller counts them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

log = logging.getLogger("headrace.api")

KEPT_S = 5.0
"""Age in seconds up to which a count is repeated: consoles ask often, and the controller has other work."""

TIMEOUT_S = 3.0

Counts = Mapping[str, int]
"""Replicas in the state RUNNING, by application."""


class ReadyReplicas:
    """The numbers of replicas that run, which are not known before `count_by`."""

    def __init__(self) -> None:
        self._count: Callable[[], Counts] | None = None
        self._asking: asyncio.Future[Counts] | None = None
        self._known: tuple[float, Counts | None] = (-KEPT_S, None)

    def count_by(self, count: Callable[[], Counts]) -> None:
        """Sets the function that counts, which blocks; it is never called twice at once."""
        self._count = count

    async def counts(self) -> Counts | None:
        """Returns the numbers of replicas that run, by application; None if they are not known now."""
        at, known = self._known
        if self._count is None or time.monotonic() < at + KEPT_S:
            return known
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._count))
        found: Counts | None = None
        try:
            found = await asyncio.wait_for(asyncio.shield(self._asking), TIMEOUT_S)
        except TimeoutError:
            log.warning("replicas are not counted: Ray Serve's controller does not answer in %g s", TIMEOUT_S)
        except Exception as e:
            log.warning("replicas are not counted: %s", e)
        self._known = (time.monotonic(), found)
        return found
