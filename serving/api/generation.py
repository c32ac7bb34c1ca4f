"""What chat completions, completions and responses share: from a validated request to the engine and back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from serving.api import in_turn, several
from serving.api.choices import shown
from serving.api.cost import MAX_TOKENS, Cost, cost_of
from serving.api.errors import ApiError, EngineLost, invalid, may_have_worked, too_many, unavailable, upstream
from serving.api.exchange import Exchange
from serving.api.frames import FrameError
from serving.api.guarded_stream import GuardedStream
from serving.api.relay import EngineError, Relay
from serving.api.schemas import Sampling
from serving.api.tokens import Tokens
from serving.api.upstream import Answer, Upstream, first_piece, read_answer
from serving.assistants.resolver import Route
from serving.engines.endpoint import Endpoint, EngineBusy, EngineUnavailable
from serving.engines.pool import Engines
from serving.store.captures import Ending
from serving.store.errors import StoreError
from serving.telemetry import metrics, tracing

log = logging.getLogger("headrace.api")

ELSEWHERE = 2
"""Other engine replicas that a request may go to, where one is gone before the first byte of its answer."""

ELSEWHERE_ASKED = 1
"""As `ELSEWHERE`, where those before had got the request: it may be what they died of."""

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "n")

CHAT = "/chat/completions"

Annotate = Callable[[dict[int, str]], Awaitable[dict[int, dict[str, Any]]]]
"""From the text of each choice to the fields that its message gets beside it (citations)."""

Recall = Callable[[Endpoint, dict[str, Any]], Awaitable[None]]
"""Puts memory into an engine's document, once it is known which engine reads it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one generation ended: `prompt` is what the engine was sent, `choices` what it said, whole or not.

    `ending` is `error` with the error's `code` when it broke off, and `cancelled` when the caller hung up. `last` is
    what the caller is sent next, when it is whole: the answer, or the rest of its stream.
    """

    id: str
    ending: Ending
    prompt: dict[str, Any]
    choices: list[dict[str, Any]]
    usage: dict[str, Any]
    code: str | None = None
    steps: Sequence[dict[str, Any]] = ()
    cost: Cost | None = None
    last: Callable[[], bytes] = bytes

    @property
    def whole(self) -> bool:
        """Whether the engine said all that it had to say."""
        return self.ending not in ("error", "cancelled")


def blocked(x: Exchange) -> Outcome:
    """Returns how a request ends that a guardrail blocks before any model reads it."""
    report = x.guard.report if x.guard is not None else []
    said = {"role": "assistant", "content": "", "headrace": {"guardrails": report}}
    choice = {"index": 0, "message": said, "finish_reason": "content_filter"}
    return Outcome(x.new_id("blocked"), "error", {}, [choice], {}, code="content_filter")


Finished = Callable[[Outcome], Awaitable[None]]
"""Told of the end, before the caller learns of it; what it raises the caller gets instead."""

Solve = Callable[[Exchange, "Job", Endpoint, "Said", dict[str, str]], Awaitable[dict[str, Any] | None]]
"""Answers in place of one plain generation: gets the engine, its prompt, and the `id` and `model` to answer with.

What it finds it puts into `Said`, and says when that is all, before the caller learns of it.
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One generation: what to ask an engine, and how to shape what it says."""

    id: str
    path: str
    route: Route
    document: dict[str, Any]
    stream: bool
    want_usage: bool
    text_only: bool = True
    recall: Recall | None = None
    annotate: Annotate | None = None
    cites: bool = False  # what `annotate` returns takes time to find
    finished: Finished | None = None
    solve: Solve | None = None
    transform: Callable[[dict[str, Any]], None] | None = None
    relay: Relay | None = None  # of another kind of stream than a chat's
    param: str = "messages"  # the request's field that holds what is asked
    effort: int = 0  # tokens of a strategy


def sampling_fields(body: Sampling) -> dict[str, Any]:
    """Returns the sampling fields that were given, as engines take them."""
    return {name: value for name in _SAMPLING if (value := getattr(body, name)) is not None}


class Generator:
    """Runs generations on engines."""

    def __init__(self, engines: Engines, upstream_client: Upstream) -> None:
        self._engines = engines
        self._upstream = upstream_client

    async def run(self, x: Exchange, job: Job) -> dict[str, Any] | None:
        """Returns the whole answer, or None after it was streamed to the caller. Raises `ApiError`."""
        lost: list[str] = []
        asked = 0  # of them, those that may have died of this request
        said: Said | None = None
        while True:
            try:
                async with self._prepared(x, job, lost) as (endpoint, document):
                    if x.charge is not None:
                        await x.charge.reserve(job, endpoint, document)
                    if lost:
                        metrics.child(metrics.engine_replaced, job.route.model).inc()
                        log.warning("request %s: a replica of %s is gone: another", x.request_id, job.route.model)
                    said = Said(x, job, document)
                    return await self._answer(x, job, endpoint, said)
            except StoreError:
                raise  # nor could it be stored that it was not
            except Exception as e:
                untouched = said is not None and endpoint.leased and not x.started and not said.steps
                if isinstance(e, EngineLost) and untouched and len(lost) < ELSEWHERE and asked < ELSEWHERE_ASKED:
                    x.timeline.cut()
                    lost.append(endpoint.url)
                    asked += e.asked
                    continue
                if said is not None:
                    if x.charge is not None and job.solve is None and not x.charge.booked and may_have_worked(e):
                        x.charge.lose()
                    await said.broken_off("error", e.code if isinstance(e, ApiError) else None)
                elif isinstance(e, ApiError) and e.code == "content_filter" and job.finished is not None:
                    await job.finished(blocked(x))
                raise
            except asyncio.CancelledError:
                if said is not None and x.charge is not None and job.solve is None and not x.charge.booked:
                    x.charge.lose()
                if said is not None and x.disconnected:
                    await said.broken_off("cancelled")
                raise

    async def _answer(self, x: Exchange, job: Job, endpoint: Endpoint, said: Said) -> dict[str, Any] | None:
        ours = {"id": job.id, "model": job.route.requested}
        x.timeline.under_way = "first_token" if job.solve is None else "reason"
        if job.solve is not None:
            return await job.solve(x, job, endpoint, said, ours)
        if job.stream:
            await self._stream(x, job, endpoint, said, ours)
            return None
        return await self._whole(x, job, endpoint, said, ours)

    async def count(self, x: Exchange, job: Job) -> int:
        """Returns the tokens of a chat's prompt. Raises `ApiError`, a 400 where the engine counts none."""
        async with self._prepared(x, job) as (endpoint, document):
            with x.timeline.during("memory"):
                tokens = await Tokens(self._upstream, endpoint, document.get("tools")).count(document["messages"])
        if tokens is None:
            raise invalid("This model does not count the tokens of this input.", "model", "unsupported_content")
        return tokens

    @asynccontextmanager
    async def _prepared(
        self, x: Exchange, job: Job, lost: Sequence[str] = ()
    ) -> AsyncIterator[tuple[Endpoint, dict[str, Any]]]:
        """Holds an engine that is not `lost`, and yields it with what it is asked."""
        x.timeline.under_way = "queue"
        try:
            async with self._engines.endpoint(job.route.model, x.caller, lost) as endpoint:
                x.timeline.end_of("queue")
                if endpoint.text_only and not job.text_only:
                    raise ApiError(400, "unsupported_content", "This model takes text only.", param=job.param)
                document = {**job.document, "model": endpoint.model}
                if job.recall is not None:
                    with x.timeline.during("memory"):
                        await job.recall(endpoint, document)
                yield endpoint, document
        except EngineBusy as e:
            raise too_many(f"{_named(e, job.route, 'is busy')}; try again soon.") from None
        except EngineUnavailable as e:
            raise unavailable(f"{_named(e, job.route, 'cannot be asked now')}.".capitalize()) from None

    async def _whole(
        self, x: Exchange, job: Job, endpoint: Endpoint, said: Said, ours: dict[str, str]
    ) -> dict[str, Any]:
        each_in_turn = in_turn.needed(endpoint, said.prompt)
        if each_in_turn:
            answer = await in_turn.whole(self._upstream, endpoint, job.path, said.prompt)
            x.timeline.end_of("first_token")
        else:
            async with self._upstream.post(endpoint, job.path, said.prompt) as response:
                x.timeline.end_of("first_token")
                x.timeline.under_way = "decode"
                answer = await read_answer(response, endpoint)
            x.timeline.end_of("decode")
        usage = given if isinstance(given := answer.get("usage"), dict) else {}
        choices = answer.get("choices")
        if isinstance(choices, list) and len(choices) > 1 and not each_in_turn:
            usage = await several.of_whole(self._upstream, endpoint, said.prompt, choices, usage)
            answer["usage"] = usage or None
        book(x, job, usage)  # whatever becomes of the answer
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise upstream("The model's answer has no choices.")
        if x.guard is not None and x.guard.output:
            with x.timeline.during("guard"):
                await x.guard.answer(choices)
        answer.update(ours)
        answer.pop("timings", None)
        if job.transform is not None:
            job.transform(answer)
        said.so_far = lambda: ([_choice(c) for c in choices], usage)
        if said.has_more_to_say:
            texts = {c.get("index", 0): _message(c).get("content") or "" for c in choices}
            fields = await said.beside(texts, usage)
            for choice in choices:
                _message(choice).update(fields.get(choice.get("index", 0), {}))
        if job.path == CHAT:
            answer = {**answer, "choices": [shown(choice) for choice in choices]}
        await said.all(lambda: orjson.dumps(answer))
        return answer

    async def _stream(self, x: Exchange, job: Job, endpoint: Endpoint, said: Said, ours: dict[str, str]) -> None:
        said.prompt |= {"stream": True, "stream_options": {"include_usage": True}}
        hold_finish = said.has_more_to_say or job.finished is not None
        relay = job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=hold_finish, transform=job.transform)
        relay.counted = endpoint.counted
        relay.asked = said.prompt
        said.so_far = lambda: (relay.choices(), relay.usage)
        error: ApiError | None = None
        async with self._streamed(endpoint, job.path, said.prompt) as response:
            piece = await first_piece(response)
            await x.start_stream()
            await x.write(relay.head())
            try:
                rest = await _copy(x, relay, piece, response)
                if job.cites or job.relay is not None:  # another's frames may be numbered
                    await x.write(rest)
                    rest = b""
                if said.has_more_to_say:
                    fields = await said.beside(relay.texts(), relay.usage)
                    relay.annotate(fields)
                    said.so_far = lambda: (_with(fields, relay.choices()), relay.usage)
                rest += relay.tail()
            except (FrameError, EngineError, aiohttp.ClientError, TimeoutError):
                # The head is sent: one error frame, no end mark, so that nobody takes the answer for complete.
                error = upstream("The model broke off in the middle of its answer.")
                x.code = error.code
                rest = x.error_frame(error)
            finally:
                if tracing.kept() is not None:
                    tracing.answered(relay.choices(), relay.usage)
                book(x, job, relay.usage)
                _observe(x, relay)
        if error is None:
            await said.all(lambda: rest)
        else:
            await said.broken_off("error", error.code)
        await x.write(rest, last=True)

    def _streamed(self, endpoint: Endpoint, path: str, document: dict[str, Any]) -> AbstractAsyncContextManager[Answer]:
        if in_turn.needed(endpoint, document):
            return in_turn.stream(self._upstream, endpoint, path, document)
        return self._upstream.post(endpoint, path, document)


def _named(e: EngineBusy | EngineUnavailable, route: Route, problem: str) -> str:
    """Returns what the caller is told of an engine: names that the caller did not ask for are not in it."""
    if route.model == route.requested and route.adapts is None:
        return str(e)
    log.warning("a request to %s is not answered: %s", route.requested, e)
    return f"what answers for {route.requested} {problem}"


class Said:
    """What an engine was sent and has said so far; tells `Job.finished` of the end, once."""

    def __init__(self, x: Exchange, job: Job, prompt: dict[str, Any]) -> None:
        self._x = x
        self._job = job
        self.prompt = prompt
        self.so_far: Callable[[], tuple[list[dict[str, Any]], dict[str, Any]]] = lambda: ([], {})
        self.steps: list[dict[str, Any]] = []
        self._told = False

    @property
    def has_more_to_say(self) -> bool:
        """Whether something stands beside an answer: its citations, its memory, its cost."""
        beside = self._job.route.price is not None or self._x.guard is not None
        return self._job.annotate is not None or (beside and self._job.path == CHAT)

    async def beside(self, texts: dict[int, str], usage: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Returns the fields beside each of a chat's choices; what all of them cost stands beside the first."""
        fields: dict[int, dict[str, Any]] = {}
        if self._job.annotate is not None:
            with self._x.timeline.during("cite"):
                fields = await self._job.annotate(texts)
        if (cost := cost_of(usage, self._job.route.price)) is not None:
            fields.setdefault(0, {}).setdefault("headrace", {})["cost"] = cost.shown
        if self._x.guard is not None and self._x.guard.report:
            fields.setdefault(0, {}).setdefault("headrace", {})["guardrails"] = self._x.guard.report
        return fields

    async def all(self, last: Callable[[], bytes]) -> None:
        """The engine has said all, and the caller is sent `last` next; raises what `finished` raises."""
        choices, usage = self.so_far()
        if not choices:
            raise upstream("The model's answer has no choices.")
        if self._job.finished is not None:
            choices = self._reported(choices)
            end = ending(choices)
            cost = cost_of(usage, self._job.route.price)
            outcome = Outcome(self._job.id, end, self.prompt, choices, usage, steps=self.steps, cost=cost, last=last)
            await self._tell(self._job.finished, outcome)

    async def broken_off(self, kind: Ending, code: str | None = None) -> None:
        """The engine or the caller broke off. That it cannot be stored does not hide why."""
        self._x.timeline.cut()  # what was waited for is not the time to store it
        if self._job.finished is None or self._told:
            return
        choices, usage = self.so_far()
        choices = self._reported(choices)
        cost = cost_of(usage, self._job.route.price)
        outcome = Outcome(self._job.id, kind, self.prompt, choices, usage, code, self.steps, cost)
        try:
            await self._tell(self._job.finished, outcome)
        except (ApiError, StoreError) as e:
            log.warning("request %s: a completion that broke off is not stored: %s", self._x.request_id, e)

    def _reported(self, choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the choices with what guardrails found, also where it does not stand beside the caller's answer."""
        if self._x.guard is None or not self._x.guard.report:
            return choices
        beside = {"guardrails": self._x.guard.report}
        return [
            {**c, "message": {**c["message"], "headrace": {**c["message"].get("headrace", {}), **beside}}}
            if i == 0
            else c
            for i, c in enumerate(choices)
        ]

    async def _tell(self, finished: Finished, outcome: Outcome) -> None:
        self._told = True  # also when this is cancelled: what is stored is stored
        try:
            await finished(outcome)
        except Exception:
            self._told = False
            raise
        self._x.timeline.end_of("store")


def ending(choices: Sequence[dict[str, Any]]) -> Ending:
    """Returns how an answer ended, by the `finish_reason` of its first choice."""
    reason = choices[0].get("finish_reason") if choices else None
    return reason if reason in ("length", "content_filter", "tool_calls") else "completed"


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns the message of a choice, an empty one where an engine gives none."""
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns a choice of a chat or a completion in the chat's shape, without log probabilities."""
    message = choice.get("message") or {"role": "assistant", "content": choice.get("text")}
    return {"index": choice.get("index", 0), "message": message, "finish_reason": choice.get("finish_reason")}


def _with(fields: dict[int, dict[str, Any]], choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**c, "message": {**c["message"], **fields.get(c["index"], {})}} for c in choices]


async def _copy(x: Exchange, relay: Relay, piece: bytes, response: Answer) -> bytes:
    """Passes on the stream that begins with `piece`; returns what came with the end mark: it leaves with the tail.

    Each send is a system call here and wakes HAProxy and the caller: a short stream has four instead of six.
    """
    rest = b""
    guarded = GuardedStream(x.guard) if x.guard is not None and x.guard.output else None
    while piece:
        data = relay.feed(piece if guarded is None else await guarded.feed(piece))
        if data and x.timeline.under_way == "first_token" and relay.first_token is not None:
            x.timeline.end_of("first_token")
            x.timeline.under_way = "decode"
        if relay.done:
            rest += data
        else:
            await x.write(data)
        piece = await response.content.readany()
    x.timeline.cut()
    return rest


def _observe(x: Exchange, relay: Relay) -> None:
    if relay.first_token is None or relay.last_token is None:
        return
    metrics.child(metrics.ttft_seconds, x.model).observe(relay.first_token - x.timeline.start)
    tokens = relay.usage.get("completion_tokens") or relay.tokens
    if tokens > 1:
        metrics.child(metrics.inter_token_seconds, x.model).observe(
            (relay.last_token - relay.first_token) / (tokens - 1)
        )


def book(x: Exchange, job: Job, usage: dict[str, Any]) -> None:
    """Books the tokens of an answer, and their cost where it is known."""
    x.usage = usage
    count_tokens(x.model, x.caller.tenant, usage)
    cost = cost_of(usage, job.route.price)
    if x.charge is not None and (usage or job.solve is None):
        x.charge.book(usage, cost)
    if cost is not None:
        count_cost(x.model, x.caller.tenant, cost)
        if x.assistant is not None:
            metrics.child(metrics.assistant_cost, x.assistant, cost.currency).inc(float(cost.amount))


def count_cost(model: str, tenant: str, cost: Cost) -> None:
    """Books what an answer cost."""
    metrics.child(metrics.cost, model, cost.currency).inc(float(cost.amount))
    metrics.child(metrics.tenant_cost, tenant, cost.currency).inc(float(cost.amount))


def count_tokens(model: str, tenant: str, usage: dict[str, Any]) -> None:
    """Books the tokens that an engine reported."""
    for metric, field in ((metrics.prompt_tokens, "prompt_tokens"), (metrics.completion_tokens, "completion_tokens")):
        value = usage.get(field)
        if isinstance(value, int) and 0 < value <= MAX_TOKENS:
            metrics.child(metric, model, tenant).inc(value)


async def fixed_answer(x: Exchange, job: Job, text: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    """Answers a chat with `text` without asking a model, in the shape that was asked for."""
    ours = {"id": job.id, "model": job.route.requested}
    base = {**ours, "created": int(time.time())}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **fields}, "finish_reason": "stop"}
    answer = {**base, "object": "chat.completion", "choices": [shown(choice)], "usage": usage}
    stream = b""
    if job.stream:
        relay = job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=True)
        stream = relay.head() + relay.answer(text, "stop", usage)
        relay.annotate({0: fields})
        stream += relay.tail()
    if job.finished is not None:
        last = (lambda: stream) if job.stream else (lambda: orjson.dumps(answer))
        await job.finished(Outcome(job.id, "completed", {}, [choice], usage, last=last))
        x.timeline.end_of("store")
    if not job.stream:
        return answer
    await x.start_stream()
    await x.write(stream, last=True)
    return None
