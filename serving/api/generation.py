"""What chat completions, completions and responses share: from a validated request to the engine and back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from serving.api.errors import ApiError, invalid, too_many, unavailable, upstream
from serving.api.exchange import Exchange
from serving.api.frames import FrameError, encode
from serving.api.relay import EngineError, Relay
from serving.api.schemas import Sampling
from serving.api.tokens import Tokens
from serving.api.upstream import Upstream, read_answer
from serving.assistants.resolver import Route
from serving.engines.endpoint import Endpoint, EngineBusy, EngineUnavailable
from serving.engines.pool import Engines
from serving.store.captures import Ending
from serving.store.errors import StoreError
from serving.telemetry import metrics

log = logging.getLogger("headrace.api")

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "n")

Annotate = Callable[[dict[int, str]], Awaitable[dict[int, dict[str, Any]]]]
"""From the text of each choice to the fields that its message gets beside it (citations)."""

Recall = Callable[[Endpoint, dict[str, Any]], Awaitable[None]]
"""Puts memory into an engine's document, once it is known which engine reads it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one generation ended: `prompt` is what the engine was sent, `choices` what it said, whole or not.

    `ending` is `error` with the error's `code` when it broke off, and `cancelled` when the caller hung up.
    """

    id: str
    ending: Ending
    prompt: dict[str, Any]
    choices: list[dict[str, Any]]
    usage: dict[str, Any]
    code: str | None = None
    steps: Sequence[dict[str, Any]] = ()

    @property
    def whole(self) -> bool:
        """Whether the engine said all that it had to say."""
        return self.ending not in ("error", "cancelled")


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
    finished: Finished | None = None
    solve: Solve | None = None
    transform: Callable[[dict[str, Any]], None] | None = None
    relay: Relay | None = None  # of another kind of stream than a chat's
    param: str = "messages"  # the request's field that holds what is asked


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
        async with self._prepared(x, job) as (endpoint, document):
            ours = {"id": job.id, "model": job.route.requested}
            said = Said(x, job, document)
            try:
                if job.solve is not None:
                    return await job.solve(x, job, endpoint, said, ours)
                if job.stream:
                    await self._stream(x, job, endpoint, said, ours)
                    return None
                return await self._whole(x, job, endpoint, said, ours)
            except StoreError:
                raise  # nor could it be stored that it was not
            except Exception as e:
                await said.broken_off("error", e.code if isinstance(e, ApiError) else None)
                raise
            except asyncio.CancelledError:
                if x.disconnected:
                    await said.broken_off("cancelled")
                raise

    async def count(self, x: Exchange, job: Job) -> int:
        """Returns the tokens of a chat's prompt. Raises `ApiError`, a 400 where the engine counts none."""
        async with self._prepared(x, job) as (endpoint, document):
            tokens = await Tokens(self._upstream, endpoint, document.get("tools")).count(document["messages"])
        if tokens is None:
            raise invalid("This model does not count the tokens of this input.", "model", "unsupported_content")
        return tokens

    @asynccontextmanager
    async def _prepared(self, x: Exchange, job: Job) -> AsyncIterator[tuple[Endpoint, dict[str, Any]]]:
        """Holds an engine, and yields it with what it is asked."""
        try:
            async with self._engines.endpoint(job.route.model) as endpoint:
                x.timeline.end_of("queue")
                if endpoint.text_only and not job.text_only:
                    raise ApiError(400, "unsupported_content", "This model takes text only.", param=job.param)
                document = {**job.document, "model": endpoint.model}
                if job.recall is not None:
                    await job.recall(endpoint, document)
                    x.timeline.end_of("memory")
                yield endpoint, document
        except EngineBusy as e:
            raise too_many(f"{e}; try again soon.") from None
        except EngineUnavailable as e:
            raise unavailable(f"{e}.".capitalize()) from None

    async def _whole(
        self, x: Exchange, job: Job, endpoint: Endpoint, said: Said, ours: dict[str, str]
    ) -> dict[str, Any]:
        async with self._upstream.post(endpoint, job.path, said.prompt) as response:
            x.timeline.end_of("first_token")
            answer = await read_answer(response)
        x.timeline.end_of("decode")
        choices = answer.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise upstream("The model's answer has no choices.")
        answer.update(ours)
        answer.pop("timings", None)
        if job.transform is not None:
            job.transform(answer)
        usage = answer.get("usage") or {}
        count_tokens(x.model, x.caller.tenant, usage)
        said.so_far = lambda: ([_choice(c) for c in choices], usage)
        if job.annotate is not None:
            texts = {c.get("index", 0): (c.get("message") or {}).get("content") or "" for c in choices}
            fields = await job.annotate(texts)
            for choice in choices:
                choice.get("message", {}).update(fields.get(choice.get("index", 0), {}))
            x.timeline.end_of("cite")
        await said.all()
        return answer

    async def _stream(self, x: Exchange, job: Job, endpoint: Endpoint, said: Said, ours: dict[str, str]) -> None:
        said.prompt |= {"stream": True, "stream_options": {"include_usage": True}}
        hold_finish = job.annotate is not None or job.finished is not None
        relay = job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=hold_finish, transform=job.transform)
        said.so_far = lambda: (relay.choices(), relay.usage)
        error: ApiError | None = None
        async with self._upstream.post(endpoint, job.path, said.prompt) as response:
            await x.start_stream()
            await x.write(relay.head())
            try:
                rest = await _copy(x, relay, response)
                if job.annotate is not None or job.relay is not None:  # another's frames may be numbered
                    await x.write(rest)
                    rest = b""
                if job.annotate is not None:
                    fields = await job.annotate(relay.texts())
                    relay.annotate(fields)
                    said.so_far = lambda: (_with(fields, relay.choices()), relay.usage)
                    x.timeline.end_of("cite")
                rest += relay.tail()
            except (FrameError, EngineError, aiohttp.ClientError, TimeoutError):
                # The head is sent: one error frame, no end mark, so that nobody takes the answer for complete.
                error = upstream("The model broke off in the middle of its answer.")
                x.code = error.code
                rest = x.error_frame(error)
            finally:
                count_tokens(x.model, x.caller.tenant, relay.usage)
                _observe(x, relay)
        if error is None:
            await said.all()
        else:
            await said.broken_off("error", error.code)
        await x.write(rest, last=True)


class Said:
    """What an engine was sent and has said so far; tells `Job.finished` of the end, once."""

    def __init__(self, x: Exchange, job: Job, prompt: dict[str, Any]) -> None:
        self._x = x
        self._job = job
        self.prompt = prompt
        self.so_far: Callable[[], tuple[list[dict[str, Any]], dict[str, Any]]] = lambda: ([], {})
        self.steps: list[dict[str, Any]] = []
        self._told = False

    async def all(self) -> None:
        """The engine has said all; raises what `finished` raises."""
        choices, usage = self.so_far()
        if not choices:
            raise upstream("The model's answer has no choices.")
        if self._job.finished is not None:
            end = ending(choices)
            outcome = Outcome(self._job.id, end, self.prompt, choices, usage, steps=self.steps)
            await self._tell(self._job.finished, outcome)

    async def broken_off(self, kind: Ending, code: str | None = None) -> None:
        """The engine or the caller broke off. That it cannot be stored does not hide why."""
        if self._job.finished is None or self._told:
            return
        outcome = Outcome(self._job.id, kind, self.prompt, *self.so_far(), code, self.steps)
        try:
            await self._tell(self._job.finished, outcome)
        except (ApiError, StoreError) as e:
            log.warning("request %s: a completion that broke off is not stored: %s", self._x.request_id, e)

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


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns a choice of a chat or a completion in the chat's shape, without log probabilities."""
    message = choice.get("message") or {"role": "assistant", "content": choice.get("text")}
    return {"index": choice.get("index", 0), "message": message, "finish_reason": choice.get("finish_reason")}


def _with(fields: dict[int, dict[str, Any]], choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**c, "message": {**c["message"], **fields.get(c["index"], {})}} for c in choices]


async def _copy(x: Exchange, relay: Relay, response: aiohttp.ClientResponse) -> bytes:
    """Passes the stream on; returns what came with the end mark, so that it leaves with the tail.

    Each send is a system call here and wakes HAProxy and the caller: a short stream has four instead of six.
    """
    rest = b""
    async for chunk in response.content.iter_any():
        data = relay.feed(chunk)
        if not data:
            continue
        if "first_token" not in x.timeline.stages and relay.first_token is not None:
            x.timeline.end_of("first_token")
        if relay.done:
            rest += data
        else:
            await x.write(data)
    x.timeline.end_of("decode" if "first_token" in x.timeline.stages else "first_token")
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


def count_tokens(model: str, tenant: str, usage: dict[str, Any]) -> None:
    """Books the tokens that an engine reported."""
    for metric, field in ((metrics.prompt_tokens, "prompt_tokens"), (metrics.completion_tokens, "completion_tokens")):
        value = usage.get(field)
        if isinstance(value, int) and value > 0:
            metrics.child(metric, model, tenant).inc(value)


async def fixed_answer(x: Exchange, job: Job, text: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    """Answers a chat with `text` without asking a model, in the shape that was asked for."""
    ours = {"id": job.id, "model": job.route.requested}
    base = {**ours, "created": int(time.time())}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **fields}, "finish_reason": "stop"}
    stream = b""
    if job.stream:
        relay = job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=True)
        stream = relay.head() + relay.feed(_as_stream(base, text, usage))
        relay.annotate({0: fields})
        stream += relay.tail()
    if job.finished is not None:
        await job.finished(Outcome(job.id, "completed", {}, [choice], usage))
        x.timeline.end_of("store")
    if not job.stream:
        return {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
    await x.start_stream()
    await x.write(stream, last=True)
    return None


def _as_stream(base: dict[str, Any], text: str, usage: dict[str, int]) -> bytes:
    """Returns an answer of `text` as an engine would stream it."""
    base = {**base, "object": "chat.completion.chunk"}
    begin = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    frames = [{**base, "choices": [choice]} for choice in (begin, end)]
    frames.append({**base, "choices": [], "usage": usage})
    return b"".join(map(encode, frames)) + b"data: [DONE]\n\n"
