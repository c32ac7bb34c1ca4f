"""What chat completions and completions share: from a validated request to the engine and back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
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
from serving.telemetry import metrics

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "n")

Annotate = Callable[[dict[int, str]], Awaitable[dict[int, dict[str, Any]]]]
"""From the text of each choice to the fields that its message gets beside it (citations)."""

Recall = Callable[[Endpoint, dict[str, Any]], Awaitable[None]]
"""Puts memory into an engine's document, once it is known which engine reads it."""

Keep = Callable[[dict[str, Any], str | None], Awaitable[None]]
"""Stores the answer's message with its `finish_reason`; the caller learns of the end only after it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One generation: what to ask an engine, and how to shape what it says."""

    path: str
    prefix: str
    route: Route
    document: dict[str, Any]
    stream: bool
    want_usage: bool
    text_only: bool = True
    recall: Recall | None = None
    annotate: Annotate | None = None
    keep: Keep | None = None
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
            ours = {"id": x.new_id(job.prefix), "model": job.route.requested}
            if job.stream:
                await self._stream(x, job, endpoint, document, ours)
                return None
            return await self._whole(x, job, endpoint, document, ours)

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
        self, x: Exchange, job: Job, endpoint: Endpoint, document: dict[str, Any], ours: dict[str, str]
    ) -> dict[str, Any]:
        async with self._upstream.post(endpoint, job.path, document) as response:
            x.timeline.end_of("first_token")
            answer = await read_answer(response)
        x.timeline.end_of("decode")
        choices = answer.get("choices")
        if not isinstance(choices, list):
            raise upstream("The model's answer has no choices.")
        answer.update(ours)
        answer.pop("timings", None)
        if job.transform is not None:
            job.transform(answer)
        count_tokens(x, answer.get("usage") or {})
        if job.annotate is not None:
            texts = {c.get("index", 0): (c.get("message") or {}).get("content") or "" for c in choices}
            fields = await job.annotate(texts)
            for choice in choices:
                choice.get("message", {}).update(fields.get(choice.get("index", 0), {}))
            x.timeline.end_of("cite")
        if job.keep is not None:
            if not choices:
                raise upstream("The model's answer has no choices.")
            await job.keep(choices[0].get("message") or {}, choices[0].get("finish_reason"))
            x.timeline.end_of("store")
        return answer

    async def _stream(
        self, x: Exchange, job: Job, endpoint: Endpoint, document: dict[str, Any], ours: dict[str, str]
    ) -> None:
        document |= {"stream": True, "stream_options": {"include_usage": True}}
        relay = job.relay or Relay(
            ours, want_usage=job.want_usage, hold_finish=job.annotate is not None, transform=job.transform
        )
        answer: dict[str, Any] | None = None
        async with self._upstream.post(endpoint, job.path, document) as response:
            await x.start_stream()
            await x.write(relay.head())
            try:
                rest = await _copy(x, relay, response)
                fields: dict[int, dict[str, Any]] = {}
                if job.annotate is not None or job.keep is not None:
                    await x.write(rest)
                    rest = b""
                if job.annotate is not None:
                    fields = await job.annotate(relay.texts())
                    relay.annotate(fields)
                    x.timeline.end_of("cite")
                rest += relay.tail()
                answer = {**relay.message(), **fields.get(0, {})}
            except (FrameError, EngineError, aiohttp.ClientError, TimeoutError):
                # The head is sent: one error frame, no end mark, so that nobody takes the answer for complete.
                error = upstream("The model broke off in the middle of its answer.")
                x.code = error.code
                rest = x.error_frame(error)
        count_tokens(x, relay.usage)
        _observe(x, relay)
        if job.keep is not None and answer is not None:
            await job.keep(answer, relay.finish_reason)
            x.timeline.end_of("store")
        await x.write(rest, last=True)


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


def count_tokens(x: Exchange, usage: dict[str, Any]) -> None:
    """Books the tokens that the engine reported."""
    tenant = x.caller.tenant
    for metric, field in ((metrics.prompt_tokens, "prompt_tokens"), (metrics.completion_tokens, "completion_tokens")):
        value = usage.get(field)
        if isinstance(value, int) and value > 0:
            metrics.child(metric, x.model, tenant).inc(value)


async def fixed_answer(x: Exchange, job: Job, text: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    """Answers a chat with `text` without asking a model, in the shape that was asked for."""
    base = {"id": x.new_id(job.prefix), "created": int(time.time()), "model": job.route.requested}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    if job.keep is not None:
        await job.keep({"content": text, **fields}, "stop")
        x.timeline.end_of("store")
    if not job.stream:
        message = {"role": "assistant", "content": text, **fields}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
    base["object"] = "chat.completion.chunk"
    await x.start_stream()
    for delta, reason in (({"role": "assistant", "content": text}, None), (fields, "stop")):
        await x.write(encode({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
    if job.want_usage:
        await x.write(encode({**base, "choices": [], "usage": usage}))
    await x.write(b"data: [DONE]\n\n", last=True)
    return None
