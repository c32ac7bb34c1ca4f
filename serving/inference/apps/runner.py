"""Answers by an app: sends a run to its process, and relays its output as the answer and its steps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import orjson

from serving.assistants.sandbox.pool import SandboxOf
from serving.assistants.strategies.work import MAX_TEXT, STEP_KINDS, Step
from serving.assistants.tools.builtin import tools
from serving.assistants.tools.catalogue import CatalogTools
from serving.assistants.tools.tool import Toolbox, shorten, well_formed
from serving.config import TOOLS, AppModel
from serving.engines.client import EngineClient, EngineResponse
from serving.engines.endpoint import Endpoint
from serving.engines.sse import encode
from serving.guardrails.stream import GuardedStream
from serving.inference.apps.runs import AppRun, AppRuns
from serving.inference.exchange import Exchange
from serving.inference.job import GenerationJob, GenerationRecord, begin_stream, finish_solved
from serving.inference.relay import Relay
from serving.inference.steps import step_fields, step_text
from serving.protocol.errors import ApiError, EngineLost, rate_limited, timed_out, upstream
from serving.store.apps.checkpoints import Checkpoints, Thread
from serving.telemetry import tracing

log = logging.getLogger("headrace.api")

PATIENCE_S = 10
"""Extra time for an app to report its timeout, which starts when the run gets a slot."""

MAX_EVENT = 8_000_000
"""Maximum size of one event of an app, in bytes."""

MAX_STEPS = 256

TOOL_CALLS, TOOL_S, TOOL_CHARACTERS = 64, 60.0, 200_000
"""Limits of one run: calls of tools, seconds per call, and characters of all results."""

_PASSED_ON = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "max_tokens")

MakeTools = Callable[[Callable[[], None]], Awaitable[Toolbox]]
"""Creates an app's tools; they call a function before each call that may change something."""


async def app_tools(
    x: Exchange, names: Sequence[str], catalogue: CatalogTools, sandbox: SandboxOf, changing: Callable[[], None]
) -> Toolbox:
    """Returns the tools of one run of an app, with its caller's secrets.

    It is unknown what an app has read. A call that may change something therefore requires approval, unless the tool's
    configuration exempts it, and the app is told so. `changing` is called before each call that may change something.
    """

    async def change() -> None:
        changing()
        if x.hold is not None:
            await x.hold.pin()

    built_in = [name for name in names if name in TOOLS]
    return Toolbox(
        [*tools(built_in, sandbox=sandbox, search=None), *await catalogue.get(names, x.caller.tenant)],
        TOOL_CALLS,
        TOOL_S,
        characters=TOOL_CHARACTERS,
        tainted=True,
        changing=change,
        screen=x.guard,
    )


class AppRunner:
    """Answers one request by an app.

    If its process ends before it has sent any part of the answer, another replica continues the run: a graph from its
    last checkpoint, anything else from the beginning. This is not done if it would repeat a tool call that may have
    changed something.
    """

    def __init__(
        self,
        client: EngineClient,
        runs: AppRuns,
        checkpoints: Checkpoints,
        app: AppModel,
        tools: MakeTools,
        conversation: str | None,
    ) -> None:
        self._client = client
        self._runs = runs
        self._checkpoints = checkpoints
        self._app = app
        self._tools = tools
        self._conversation = conversation
        self._steps: list[dict[str, Any]] = []
        self._relay: Relay | None = None
        self._run: AppRun | None = None
        self._toolbox: Toolbox | None = None
        self._said = False
        self._interrupt: list[Any] | None = None

    @property
    def resumes(self) -> bool:
        """Whether another replica may continue the run."""
        return not self._said and (self._run is None or self._run.repeatable)

    async def solve(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord, ours: dict[str, str]
    ) -> dict[str, Any] | None:
        """Returns the complete answer, or None after it was streamed. Raises `ApiError`."""
        thread = Thread(self._app.name, self._conversation or job.id, self._conversation)
        lost = False
        try:
            return await self._solve(x, job, endpoint, record, ours, thread)
        except EngineLost:
            if not self.resumes:
                raise upstream("The app's process ended after it had called a tool that changes something.") from None
            lost = True  # another replica continues from its checkpoints
            raise
        finally:
            # After the end of the run, when nothing is added any more.
            if self._run is not None and self._run.checkpointed and self._conversation is None and not lost:
                await self._checkpoints.delete(x.caller, thread)

    async def _solve(
        self,
        x: Exchange,
        job: GenerationJob,
        endpoint: Endpoint,
        record: GenerationRecord,
        ours: dict[str, str],
        thread: Thread,
    ) -> dict[str, Any] | None:
        # One toolbox for all replicas, so that the limits apply to all calls together.
        tools = self._toolbox = self._toolbox or await self._tools(self._change)
        with tracing.agent(job.route.requested, endpoint.model):
            async with self._runs.opened(x.caller, self._app.name, thread, tools, x.run, self._run) as run:
                self._run = run
                return await self._run_on(x, job, endpoint, record, ours, run)

    def _change(self) -> None:
        if self._run is not None:
            self._run.change()

    async def _run_on(
        self,
        x: Exchange,
        job: GenerationJob,
        endpoint: Endpoint,
        record: GenerationRecord,
        ours: dict[str, str],
        run: AppRun,
    ) -> dict[str, Any] | None:
        relay = self._relay = self._relay or job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=True)
        record.steps = self._steps
        record.heard = relay
        try:
            await self._hear(x, job, endpoint, record, relay, run)
        finally:
            x.usage = run.usage  # the run's own requests are charged
            tracing.answered(None, run.usage)
        x.timeline.end_of("reason")
        return await self._answer(x, job, record, relay, run, ours)

    async def _hear(
        self,
        x: Exchange,
        job: GenerationJob,
        endpoint: Endpoint,
        record: GenerationRecord,
        relay: Relay,
        run: AppRun,
    ) -> None:
        """Reads the app's events to their end."""
        guarded = GuardedStream(x.guard) if x.guard is not None and x.guard.output else None

        async def say(frames: bytes) -> None:
            data = relay.feed(frames if guarded is None else await guarded.feed(frames))
            if job.stream and data:
                await begin_stream(x, relay)
                await x.write(data)

        document = self._document(job, record, run)
        try:
            async with asyncio.timeout(2 * self._app.timeout_s + PATIENCE_S):
                async with self._client.post(endpoint, "/run", document) as response:
                    async for event in self._events(response):
                        if "interrupt" in event:
                            self._interrupt = [await _guarded(x, value) for value in event["interrupt"]]
                        if text := _text(event):
                            self._said = True
                            await say(_chunk({"content": well_formed(text)}))
                        elif "step" in event:
                            await self._step(x, job, relay, event["step"])
                await say(_chunk({}, "stop"))
                usage = run.usage or None
                await say(encode({**_base(), "choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        except TimeoutError:
            raise timed_out() from None

    def _document(self, job: GenerationJob, record: GenerationRecord, run: AppRun) -> dict[str, Any]:
        """Returns the request to the app's process; the recorded copy contains no token."""
        own: Sequence[dict[str, Any]] = job.document["messages"]
        first = next((i for i, message in enumerate(own) if message["role"] != "system"), len(own))
        return {
            "url": f"http://{self._runs.address}",
            "token": run.token,
            "messages": record.prompt["messages"],
            "new": max(len(own) - first, 1),
            "thread": run.thread.name,
            "kept": self._conversation is not None,
            "settings": {name: record.prompt[name] for name in _PASSED_ON if name in record.prompt},
        }

    async def _events(self, response: EngineResponse) -> AsyncIterator[dict[str, Any]]:
        """Yields the app's events before the final one. Raises `ApiError`."""
        rest = b""
        try:
            while data := await response.content.readany():
                *lines, rest = (rest + data).split(b"\n")
                for line in filter(None, lines):
                    event = orjson.loads(line)
                    if not isinstance(event, dict):
                        raise upstream("The app sent an invalid event.")
                    if isinstance(error := event.get("error"), dict):
                        raise self._failure(error)
                    if event.get("end"):
                        return
                    if not isinstance(event.get("interrupt", []), list):
                        raise upstream("The app sent an invalid event.")
                    yield event
                if len(rest) > MAX_EVENT:
                    raise upstream("The app sent too large an event.")
        except orjson.JSONDecodeError:
            raise upstream("The app sent an invalid event.") from None
        except aiohttp.ClientError:
            pass
        if self._said:
            raise upstream("The app's answer was cut off.")
        raise EngineLost("The app's process ended before it answered.", asked=True)

    def _failure(self, error: dict[str, Any]) -> ApiError:
        """Returns the caller's error for an app's failure: with the code of an error of the platform."""
        code, message, status = error.get("code"), str(error.get("message"))[:500], error.get("status")
        if code == "timeout":
            return timed_out()
        if isinstance(status, int) and 400 <= status < 500 and isinstance(code, str):
            if code in ("rate_limit_exceeded", "insufficient_quota", "overloaded"):
                return rate_limited(code, message, {})
            return ApiError(code[:64], f"A request of the app {self._app.name} was rejected: {message}")
        log.warning("the app %s failed: %s", self._app.name, message)
        return upstream(f"The app {self._app.name} failed: {message}.")

    async def _step(self, x: Exchange, job: GenerationJob, relay: Relay, said: object) -> None:
        """Records a step, and streams it if the answer has not begun, since steps precede it."""
        if not isinstance(said, dict) or said.get("kind") not in STEP_KINDS or len(self._steps) >= MAX_STEPS:
            return
        text, name = (well_formed(str(said.get(part) or "")) for part in ("text", "name"))
        step = Step(said["kind"], shorten(text, MAX_TEXT), name[:128])
        if x.guard is not None and x.guard.output:
            step = replace(step, text=await x.guard.step(step.text), name=await x.guard.step(step.name))
        self._steps.append(step_fields(step))
        if job.stream and not self._said:
            await begin_stream(x, relay)
            await x.write(relay.step(self._steps[-1]))

    async def _answer(
        self,
        x: Exchange,
        job: GenerationJob,
        record: GenerationRecord,
        relay: Relay,
        run: AppRun,
        ours: dict[str, str],
    ) -> dict[str, Any] | None:
        """Stores the answer, and streams or returns it."""
        usage = run.usage
        text = relay.texts().get(0, "")
        fields = (await record.annotate({0: text}, usage)).get(0, {})
        beside = fields.setdefault("headrace", {})
        beside["app"] = {"name": self._app.name, "calls": run.calls}
        beside["steps"] = self._steps
        if run.cost is not None:
            beside["cost"] = run.cost.document
        if self._interrupt is not None:
            beside["interrupt"] = {"values": self._interrupt, "conversation": self._conversation}
        [choice] = relay.choices()
        choice = {**choice, "message": {**choice["message"], **fields}}
        reasoning = "".join(f"{step_text(step)}\n" for step in self._steps) or None
        told_to = relay if job.stream else None
        return await finish_solved(x, record, ours, choice, fields, usage, relay=told_to, reasoning=reasoning)


def _text(event: dict[str, Any]) -> str:
    """Returns the text that an event adds to the answer, which includes a graph's interrupt."""
    if "interrupt" in event:
        values = event["interrupt"]
        return "\n".join(v if isinstance(v, str) else orjson.dumps(v).decode() for v in values)
    return str(event.get("text") or "")


async def _guarded(x: Exchange, value: Any) -> Any:
    """Returns an interrupt's value after the output guardrails, as a field beside the answer."""
    if x.guard is None or not x.guard.output:
        return value
    if isinstance(value, str):
        return await x.guard.step(value)
    if isinstance(value, list):
        return [await _guarded(x, each) for each in value]
    if isinstance(value, dict):
        return {await x.guard.step(name): await _guarded(x, each) for name, each in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        plain = repr(value)
        clean = await x.guard.step(plain)
        return value if clean == plain else clean
    return value


def _base() -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "created": int(time.time())}


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    return encode({**_base(), "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})
