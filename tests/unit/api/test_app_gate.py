"""What a run's token does, and that it does nothing once the run is over."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from serving.api.app_gate import AppGate
from serving.assistants.tools.tool import Parameters, Tool, Toolbox
from serving.core.principal import Principal
from serving.inference.apps.runs import AT_ONCE, AppRuns
from serving.store.apps.checkpoints import Thread

ANN = Principal("acme", "ann", "key", frozenset({"inference", "data"}))
THREAD = Thread("a", "t")


class Number(Parameters):
    n: int


class Store:
    """Keeps a checkpoint once it is let."""

    def __init__(self) -> None:
        self.begun, self.let, self.ended = asyncio.Event(), asyncio.Event(), False

    async def put(self, *_: object) -> None:
        self.begun.set()
        try:
            await self.let.wait()
        finally:
            self.ended = True


async def ask(gate: AppGate, token: str, method: str, path: str, document: object) -> int:
    """Returns the status of an answer."""
    parts = [{"type": "http.request", "body": json.dumps(document).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await gate._answer(scope, receive, send)
    return int(sent[0]["status"])


def put(namespace: str = "") -> dict[str, Any]:
    packed = ["json", "AAAA"]
    return {"put": {"thread": "t", "namespace": namespace, "id": "1", "checkpoint": packed, "metadata": packed}}


async def test_nothing_is_done_for_a_run_that_is_over() -> None:
    called: list[int] = []
    reached: list[str] = []
    waiting = asyncio.Event()

    async def call(given: Number) -> str:
        called.append(given.n)
        await waiting.wait()
        return "done"

    async def api(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    store, runs = Store(), AppRuns()
    gate = AppGate(runs, store, "127.0.0.1")  # type: ignore[arg-type]
    gate.serve(api)
    box = Toolbox([Tool("t", "d", Number, call)], 64, 60)
    async with runs.opened(ANN, "a", THREAD, box, None) as run:
        asked = [asyncio.create_task(ask(gate, run.token, "POST", "/run/checkpoints", put()))]
        asked += [
            asyncio.create_task(ask(gate, run.token, "POST", "/run/tools", {"name": "t", "arguments": f'{{"n": {n}}}'}))
            for n in range(AT_ONCE + 2)
        ]
        asked.append(asyncio.create_task(ask(gate, run.token, "DELETE", "/v1/conversations/c", {})))
        await store.begun.wait()
        while len(called) < AT_ONCE - 1:
            await asyncio.sleep(0)
    assert store.ended, "nothing goes on when the run has ended"
    assert await asyncio.gather(*asked) == [401] * len(asked)
    assert (len(called), reached) == (AT_ONCE - 1, []), "what waited for a place is not done"


async def test_a_run_is_repeatable_until_a_tool_changes_something_that_no_checkpoint_follows() -> None:
    async def call(given: Number) -> str:
        if given.n:
            await ask(gate, run.token, "POST", "/run/checkpoints", put())
        return "done"

    async def change() -> None:
        run.change()

    store, runs = SimpleNamespace(put=lambda *_: asyncio.sleep(0)), AppRuns()
    gate = AppGate(runs, store, "127.0.0.1")  # type: ignore[arg-type]
    box = Toolbox([Tool("t", "d", Number, call, effects=lambda g: g.n < 2)], 64, 60, changing=change)

    async def tool(n: int) -> bool:
        await ask(gate, run.token, "POST", "/run/tools", {"name": "t", "arguments": f'{{"n": {n}}}'})
        return run.repeatable and outer.repeatable

    async with runs.opened(ANN, "o", THREAD, box, None) as outer, runs.opened(ANN, "a", THREAD, box, outer) as run:
        assert await tool(2), "it changes nothing"
        assert not await tool(1), "a checkpoint from amid a call says nothing of it"
        await ask(gate, run.token, "POST", "/run/checkpoints", put("inner"))
        assert not run.repeatable, "the node around a subgraph has not ended"
        await ask(gate, run.token, "POST", "/run/checkpoints", put())
        assert (run.repeatable, outer.repeatable) == (True, False)
        async with runs.opened(ANN, "a", THREAD, box, outer, run) as again:
            assert again.repeatable
            run.change()
        async with runs.opened(ANN, "a", THREAD, box, outer, run) as again:
            assert not again.repeatable


async def test_a_run_gets_no_session_or_key_of_its_caller() -> None:
    reached: list[str] = []

    async def api(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    runs = AppRuns()
    gate = AppGate(runs, Store(), "127.0.0.1")  # type: ignore[arg-type]
    gate.serve(api)
    async with runs.opened(ANN, "a", THREAD, Toolbox([], 64, 60), None) as run:
        for method, path in (
            ("POST", "/auth/codes"),
            ("POST", "/auth/key"),
            ("GET", "/auth/sessions"),
            ("GET", "/v1/me/keys"),
            ("POST", "/v1/me/keys/key_1/rotate"),
        ):
            assert await ask(gate, run.token, method, path, {}) == 403, path
        assert await ask(gate, run.token, "GET", "/v1/me", {}) == 200
    assert reached == ["/v1/me"]
