"""Runs of apps under way at this gateway: each is its caller's, and lasts as long as the caller waits.

What an app asks of the platform reaches the gateway that has its run, by a token that is known here alone: it says who
the caller is and stops working when the run ends. So there is nothing to sign, to store or to revoke.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

from serving.assistants.tools.tool import Toolbox
from serving.core.principal import Principal, Scope
from serving.core.uninterrupted import finish
from serving.engines.reported_usage import counts_of
from serving.metering.cost import Cost
from serving.protocol.errors import ApiError
from serving.store.apps.checkpoints import Thread

MAX_DEPTH = 4
"""Apps that call each other for one request."""

AT_ONCE = 8
"""Requests that one run has under way; further ones wait."""

SCOPES: frozenset[Scope] = frozenset(("inference", "data:read", "data"))
"""What an app may do for its caller, as far as the caller may."""

T = TypeVar("T")


class RunOver(Exception):
    """The run has ended: nothing is done for it any more."""


@dataclass(eq=False)
class AppRun:
    """One run: for whom, in which apps (the outermost first), and what it has used.

    `caller` is who asked, with no more than an app may do. `tools` are called for the caller, and `thread` is where
    the app's checkpoints are kept. Once it is `over`, nothing is answered for it any more. `asking` counts what the app
    asks now other than checkpoints, and `changes` the calls of its tools that may have changed something, of which
    `changes_kept` were over when a checkpoint of the whole graph was kept.
    """

    caller: Principal
    apps: tuple[str, ...]
    thread: Thread
    tools: Toolbox
    token: str = field(default_factory=lambda: f"hra_{secrets.token_urlsafe(32)}", repr=False)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    outer: AppRun | None = None
    calls: int = 0
    checkpointed: bool = False
    changes: int = 0
    changes_kept: int = 0
    asking: int = 0
    _work: set[asyncio.Task[Any]] = field(default_factory=set)
    _tokens: tuple[int, int] = (0, 0)
    _known: bool = True
    _costs: dict[str, Decimal] = field(default_factory=dict)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Holds one of the run's places. Raises `RunOver`, also for who waits for one when the run ends."""
        taking = asyncio.create_task(self.places.acquire())
        over = asyncio.create_task(self.over.wait())
        try:
            await asyncio.wait((taking, over), return_when=asyncio.FIRST_COMPLETED)
            if self.over.is_set():
                raise RunOver
            yield
        finally:
            over.cancel()
            if taking.done():
                self.places.release()
            else:
                taking.cancel()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns what `work` does for the run, which is cancelled when the run ends. Raises `RunOver`."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if self.over.is_set() and not (current is not None and current.cancelling()):
                raise RunOver from None
            raise

    async def end(self) -> None:
        """Cancels what is done for the run, and returns once none of it goes on."""
        self.over.set()
        for task in self._work:
            task.cancel()
        while self._work:
            await asyncio.wait(self._work)

    def change(self) -> None:
        """Takes down that a call of a tool may change something, for the runs around it too."""
        self.changes += 1
        if self.outer is not None:
            self.outer.change()

    @property
    def repeatable(self) -> bool:
        """Whether who goes on with the run repeats no call that changes something."""
        return self.changes == self.changes_kept

    def spent(self, usage: dict[str, Any], cost: Cost | None) -> None:
        """Adds what a request of the app's used, to the runs around it too."""
        counts = counts_of(usage)
        self.calls += 1
        if counts is None:
            self._known = False
        else:
            self._tokens = (self._tokens[0] + counts[0], self._tokens[1] + counts[1])
        if cost is not None:
            self._costs[cost.currency] = self._costs.get(cost.currency, Decimal(0)) + cost.amount
        if self.outer is not None:
            self.outer.spent(usage, cost)

    def continue_from(self, before: AppRun) -> None:
        """Takes over what a run used and changed whose process died."""
        self.changes, self.changes_kept = before.changes, before.changes_kept
        self.calls, self.checkpointed = before.calls, before.checkpointed
        self._tokens, self._known, self._costs = before._tokens, before._known, dict(before._costs)

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens of all that the app asked models for; empty where an engine did not say."""
        if not self._known:
            return {}
        read, written = self._tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    @property
    def cost(self) -> Cost | None:
        """What that cost, where all of it has one currency."""
        if len(self._costs) != 1:
            return None
        ((currency, amount),) = self._costs.items()
        return Cost(amount, currency)


class AppRuns:
    """The runs of one gateway, by their tokens; `address` is where apps reach it."""

    def __init__(self) -> None:
        self._runs: dict[str, AppRun] = {}
        self.address = ""

    def find(self, token: str) -> AppRun | None:
        """Returns the run of a token, None where there is none any more."""
        return self._runs.get(token)

    @asynccontextmanager
    async def opened(
        self,
        caller: Principal,
        app: str,
        thread: Thread,
        tools: Toolbox,
        outer: AppRun | None,
        before: AppRun | None = None,
    ) -> AsyncIterator[AppRun]:
        """Has a run answered as long as the block lasts; it goes on from the one `before`, with what that used."""
        apps = (*(outer.apps if outer is not None else ()), app)
        run = AppRun(replace(caller, scopes=caller.scopes & SCOPES), apps, thread, tools, outer=outer)
        if before is not None:
            run.continue_from(before)
        self._runs[run.token] = run
        try:
            yield run
        finally:
            del self._runs[run.token]
            await finish(run.end())


def require_acyclic(app: str, outer: AppRun | None) -> None:
    """Raises `ApiError` where an app is asked by itself, or by too many others."""
    if outer is None:
        return
    path = " > ".join((*outer.apps, app))
    if app in outer.apps:
        raise ApiError("app_loop", f"The app {app} calls itself: {path}.", param="model")
    if len(outer.apps) >= MAX_DEPTH:
        raise ApiError("app_loop", f"More than {MAX_DEPTH} apps call each other: {path}.", param="model")
