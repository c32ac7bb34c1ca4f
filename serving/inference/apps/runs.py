"""Runs of apps at this gateway: each belongs to its caller, and lasts as long as the caller waits.

Requests of an app reach the gateway of its run, with a token that only this gateway knows: it identifies the caller,
and is invalid after the run. So nothing needs to be signed, stored or revoked.
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
"""Maximum nesting of apps in one request."""

AT_ONCE = 8
"""Maximum number of concurrent requests of one run; further ones wait."""

SCOPES: frozenset[Scope] = frozenset(("inference", "data:read", "data"))
"""Scopes of an app's requests, if the caller has them."""

T = TypeVar("T")


class RunOver(Exception):
    """The run has ended: its requests are rejected."""


@dataclass(eq=False)
class AppRun:
    """One run: its caller, its apps (the outermost first), and its usage.

    `caller` has at most the scopes of apps. `tools` are called for the caller, and `thread` identifies the app's
    checkpoints. Once it is `over`, its requests are rejected. `asking` is the number of requests in progress other than
    for checkpoints, `changes` that of tool calls that may have changed something, and `changes_kept` those before the
    last checkpoint of the whole graph.
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
        """Occupies one of the run's slots. Raises `RunOver`, also if the run ends during the wait."""
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
        """Returns the result of `work`, which is cancelled when the run ends. Raises `RunOver`."""
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
        """Cancels the run's work, and returns once all of it has ended."""
        self.over.set()
        for task in self._work:
            task.cancel()
        while self._work:
            await asyncio.wait(self._work)

    def change(self) -> None:
        """Counts a tool call that may change something, for the enclosing runs too."""
        self.changes += 1
        if self.outer is not None:
            self.outer.change()

    @property
    def repeatable(self) -> bool:
        """Whether continuing the run repeats no call that changes something."""
        return self.changes == self.changes_kept

    def spent(self, usage: dict[str, Any], cost: Cost | None) -> None:
        """Adds the usage of one of the app's requests, for the enclosing runs too."""
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
        """Takes over usage and changes of the run whose process ended."""
        self.changes, self.changes_kept = before.changes, before.changes_kept
        self.calls, self.checkpointed = before.calls, before.checkpointed
        self._tokens, self._known, self._costs = before._tokens, before._known, dict(before._costs)

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens of all model requests of the app; empty if an engine did not report any."""
        if not self._known:
            return {}
        read, written = self._tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    @property
    def cost(self) -> Cost | None:
        """Their cost, if all of it is in one currency."""
        if len(self._costs) != 1:
            return None
        ((currency, amount),) = self._costs.items()
        return Cost(amount, currency)


class AppRuns:
    """The runs of one gateway, by token; `address` is where apps reach it."""

    def __init__(self) -> None:
        self._runs: dict[str, AppRun] = {}
        self.address = ""

    def find(self, token: str) -> AppRun | None:
        """Returns the run of a token, or None if it has ended."""
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
        """Accepts requests of a run as long as the block lasts; `before` is the interrupted run that it continues."""
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
    """Raises `ApiError` if an app calls itself, or apps are nested too deeply."""
    if outer is None:
        return
    path = " > ".join((*outer.apps, app))
    if app in outer.apps:
        raise ApiError("app_loop", f"The app {app} calls itself: {path}.", param="model")
    if len(outer.apps) >= MAX_DEPTH:
        raise ApiError("app_loop", f"More than {MAX_DEPTH} apps call each other: {path}.", param="model")
