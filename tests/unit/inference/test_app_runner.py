"""How a gateway answers by an app: its tools, replicas that die, and what is said of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import orjson
import pytest

from serving.assistants.tools.tool import Parameters, Tool, Toolbox
from serving.core.principal import Principal
from serving.inference.apps import runner as module
from serving.inference.apps.runner import TOOL_CALLS, AppRunner, _guarded, app_tools
from serving.inference.apps.runs import AppRuns
from serving.protocol.errors import ApiError, EngineLost

ANN = Principal("acme", "ann", "key", frozenset({"inference", "data"}))


class Nothing(Parameters):
    pass


class App:
    """Calls a tool, says `events`, and dies."""

    def __init__(self, runs: AppRuns, tool: str, *events: dict[str, Any]) -> None:
        self.runs, self.tool, self.events = runs, tool, list(events)
        self.said: list[str] = []

    @asynccontextmanager
    async def post(self, endpoint: Any, path: str, document: dict[str, Any]) -> Any:
        run = self.runs.find(document["token"])
        assert run is not None
        if self.tool:
            self.said.append(await run.tools.call(self.tool, "{}"))
        yield SimpleNamespace(content=self)

    async def readany(self) -> bytes:
        if self.events:
            return orjson.dumps(self.events.pop(0)) + b"\n"
        raise aiohttp.ClientPayloadError


def exchange(**fields: Any) -> Any:
    return SimpleNamespace(
        caller=ANN, run=None, guard=None, hold=None, started=False, usage=None, timeline=SimpleNamespace(), **fields
    )


async def change(given: Nothing) -> str:
    return "changed"


def vouched(approval: Any) -> Any:
    """The catalogue of one tool that changes something."""
    made = Tool("sends", "d", Nothing, change, effects=True, approval=approval)

    async def get(names: Any, tenant: str) -> list[Tool]:
        return [made]

    return SimpleNamespace(get=get, told_by_others=lambda _: False)


def made(app: App, approval: Any, x: Any) -> AppRunner:
    async def tools(changing: Any) -> Toolbox:
        return await app_tools(x, ["sends"], vouched(approval), None, changing)  # type: ignore[arg-type]

    model = SimpleNamespace(name="a", timeout_s=60)
    return AppRunner(app, app.runs, None, model, tools, None)  # type: ignore[arg-type]


async def solve(runner: AppRunner, x: Any) -> Any:
    route = SimpleNamespace(requested="a")
    job = SimpleNamespace(
        id="c", route=route, relay=None, want_usage=False, stream=False, document={"messages": [{"role": "user"}]}
    )
    record = SimpleNamespace(prompt={"messages": []}, steps=[], heard=None)
    return await runner.solve(x, job, SimpleNamespace(model="a"), record, {})  # type: ignore[arg-type]


async def test_a_call_that_changes_something_needs_who_configures_to_vouch_for_it() -> None:
    app, x = App(AppRuns(), "sends"), exchange()
    runner = made(app, "tainted", x)
    with pytest.raises(EngineLost):
        await solve(runner, x)
    assert app.said == ["Error: sends was not called: somebody must approve it first."]
    assert runner.resumes


async def test_calls_with_side_effects_are_not_retried_when_the_process_dies() -> None:
    app, x = App(AppRuns(), "sends"), exchange()
    runner = made(app, "never", x)
    with pytest.raises(ApiError) as failed:
        await solve(runner, x)
    assert not isinstance(failed.value, EngineLost)
    assert (app.said, runner.resumes) == (["changed"], False)


async def test_replicas_of_one_run_share_the_limit_of_its_calls() -> None:
    app, x = App(AppRuns(), "sends"), exchange()
    runner = made(app, "tainted", x)
    for _ in range(TOOL_CALLS + 1):
        with pytest.raises(EngineLost):
            await solve(runner, x)
    assert app.said[-1] == f"Error: all {TOOL_CALLS} tool calls are used up: answer now."


class Guard:
    """Takes a word out, and everything of 4111."""

    output = True

    async def step(self, text: str) -> str:
        return text.replace("secret", "[removed]").replace("4111", "[removed]")


async def test_guardrails_check_step_names_and_questions_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    x = exchange()
    x.guard = Guard()
    runner = made(App(AppRuns(), "", {"interrupt": ["a secret?"]}), "never", x)

    async def feed(frames: bytes) -> bytes:
        return frames

    monkeypatch.setattr(module, "GuardedStream", lambda _: SimpleNamespace(feed=feed))
    with pytest.raises(ApiError, match="answer was cut off"):
        await solve(runner, x)
    assert runner._interrupt == ["a [removed]?"]
    job: Any = SimpleNamespace(stream=False)
    await runner._step(x, job, None, {"kind": "node", "name": "a secret", "text": "secret"})  # type: ignore[arg-type]
    assert [(step["name"], step["text"]) for step in runner._steps] == [("a [removed]", "[removed]")]
    asked = {"question": ["secret?", {"secret": 4111}, True, None, 1.5]}
    assert await _guarded(x, asked) == {"question": ["[removed]?", {"[removed]": "[removed]"}, True, None, 1.5]}
    x.guard.output = False
    assert await _guarded(x, asked) == asked
