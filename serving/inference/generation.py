"""Runs generations: sends requests to engines and relays their answers to the caller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import orjson

from serving.assistants.unmarking import Unmarking
from serving.core.answer_lengths import length_of
from serving.engines import choices_usage, sequential_choices
from serving.engines.client import EngineClient, EngineResponse, first_piece, read_answer
from serving.engines.endpoint import Endpoint, EngineBusy, EngineUnavailable
from serving.engines.pool import Engines
from serving.engines.router import Route
from serving.engines.sse import FrameError
from serving.engines.token_counter import TokenCounter
from serving.guardrails.stream import GuardedStream
from serving.inference.exchange import Exchange
from serving.inference.job import CHAT, CompleteAnswer, GenerationJob, GenerationRecord
from serving.inference.outcome import blocked
from serving.inference.relay import EngineError, Relay
from serving.inference.unmarked_stream import UnmarkedStream, unmark
from serving.metering.cost import cost_of
from serving.metering.counters import count_cost, count_tokens
from serving.protocol.choices import complete_choice
from serving.protocol.errors import (
    ApiError,
    EngineLost,
    EngineMissing,
    EngineRefused,
    busy,
    invalid,
    may_have_worked,
    upstream,
)
from serving.store.errors import StoreError
from serving.telemetry import metrics, tracing

log = logging.getLogger("headrace.api")

ELSEWHERE = 2
"""Number of other engine replicas to try when one is lost before the first byte of its answer."""

_DEAD = (EngineLost, EngineMissing, EngineRefused)
"""Error codes of an alias's target that did nothing, so that the next one is tried."""

ELSEWHERE_ASKED = 1
"""Like `ELSEWHERE`, after replicas were lost that had received the request, which may be the cause."""


class Generator:
    """Runs generations on engines."""

    def __init__(self, engines: Engines, upstream_client: EngineClient) -> None:
        self._engines = engines
        self._upstream = upstream_client

    async def run(self, x: Exchange, job: GenerationJob) -> dict[str, Any] | None:
        """Returns the complete answer, or None after it was streamed to the caller. Raises `ApiError`."""
        lost: list[str] = []
        asked = 0  # of these, those that this request may have crashed
        alternatives = list(job.route.alternatives)
        x.answer_id = job.id
        record: GenerationRecord | None = None
        while True:
            x.serve(job.route)
            try:
                async with self._prepared(x, job, lost) as (endpoint, document):
                    if x.charge is not None and job.route.app is None:  # an app's own requests are charged
                        await x.charge.reserve(document, endpoint, job.route.price, job.effort)
                    if lost:
                        metrics.child(metrics.engine_replaced, job.route.served).inc()
                        log.warning(
                            "request %s: a replica of %s is gone; trying another", x.request_id, job.route.model
                        )
                    record = GenerationRecord(x, job, document)
                    return await self._answer(x, job, endpoint, record)
            except StoreError:
                raise  # its end could not be stored either
            except Exception as e:
                begun = x.started or (record is not None and bool(record.steps))
                resumes = job.solver is not None and job.solver.resumes
                untouched = record is not None and endpoint.leased and (resumes or not begun)
                if isinstance(e, EngineLost) and untouched and len(lost) < ELSEWHERE and asked < ELSEWHERE_ASKED:
                    x.timeline.cut()
                    lost.append(endpoint.url)
                    asked += e.asked
                    x.retries += 1
                    continue
                unanswered = record is None or not (x.started or record.steps)
                if isinstance(e, _DEAD) and not may_have_worked(e) and unanswered and alternatives:
                    log.warning(
                        "request %s: %s of %s does not answer; trying the next", x.request_id, job.route.model, x.model
                    )
                    x.timeline.cut()
                    x.retries += 1
                    x.engine_replica = None
                    job, record, lost, asked = replace(job, route=alternatives.pop(0)), None, [], 0
                    continue
                if record is not None:
                    if x.charge is not None and job.solver is None and not x.charge.booked and may_have_worked(e):
                        x.charge.lose()
                    await record.abort("error", e.code if isinstance(e, ApiError) else None)
                elif isinstance(e, ApiError) and e.code == "content_filter" and job.keeper is not None:
                    await job.keeper.keep(blocked(x))
                raise
            except asyncio.CancelledError:
                if record is not None and x.charge is not None and job.solver is None and not x.charge.booked:
                    x.charge.lose()
                if record is not None and x.disconnected:
                    await record.abort("cancelled")
                    if x.stopped:
                        await x.write(record.stopped(), last=True)
                raise

    async def _answer(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord
    ) -> dict[str, Any] | None:
        ours = {"id": job.id, "model": job.route.requested}
        # A whole answer is sent after its last token: nobody can tell when its first one was written.
        x.timeline.under_way = "reason" if job.solver is not None else "first_token" if job.stream else "decode"
        if job.solver is not None:
            return await job.solver.solve(x, job, endpoint, record, ours)
        if job.stream:
            await self._stream(x, job, endpoint, record, ours)
            return None
        return await self._complete_answer(x, job, endpoint, record, ours)

    async def count(self, x: Exchange, job: GenerationJob) -> int:
        """Returns the number of tokens of a chat's prompt. Raises `ApiError`, also if the engine cannot count them."""
        async with self._prepared(x, job) as (endpoint, document):
            with x.timeline.during("memory"):
                tokens = await TokenCounter(self._upstream, endpoint, document.get("tools")).count(document["messages"])
        if tokens is None:
            raise invalid("This model does not count the tokens of this input.", "model", "unsupported_content")
        return tokens

    @asynccontextmanager
    async def _prepared(
        self, x: Exchange, job: GenerationJob, lost: Sequence[str] = ()
    ) -> AsyncIterator[tuple[Endpoint, dict[str, Any]]]:
        """Leases an engine that is not in `lost`, and yields it with its request."""
        x.timeline.under_way = "queue"
        try:
            async with self._engines.endpoint(job.route.model, x.caller, lost) as endpoint:
                x.timeline.end_of("queue")
                x.engine_replica = endpoint.replica
                if endpoint.text_only and not job.text_only:
                    raise invalid("This model takes text only.", job.param, "unsupported_content")
                document = {**job.document, "model": endpoint.model}
                if job.path == CHAT and job.solver is None and job.route.defaults is not None:
                    job.route.defaults.complete(document)
                if job.memory is not None:
                    with x.timeline.during("memory"):
                        await job.memory.recall(endpoint, document)
                yield endpoint, document
        except EngineBusy as e:
            raise busy(_named(e, job.route, "is busy")) from None
        except EngineUnavailable as e:
            raise EngineMissing(f"{_named(e, job.route, 'cannot be asked now')}.".capitalize()) from None

    async def _complete_answer(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord, ours: dict[str, str]
    ) -> dict[str, Any]:
        each_in_turn = sequential_choices.needed(endpoint, record.prompt)
        if each_in_turn:
            answer = await sequential_choices.complete_answer(self._upstream, endpoint, job.path, record.prompt)
        else:
            async with self._upstream.post(endpoint, job.path, record.prompt) as response:
                answer = await read_answer(response, endpoint)
        x.timeline.end_of("decode")
        usage = given if isinstance(given := answer.get("usage"), dict) else {}
        choices = answer.get("choices")
        if isinstance(choices, list) and len(choices) > 1 and not each_in_turn:
            usage = await choices_usage.usage_of_answer(self._upstream, endpoint, record.prompt, choices, usage)
            answer["usage"] = usage or None
        book(x, job, usage)  # whatever the outcome
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise upstream("The model's answer has no choices.")
        if (unmarking := Unmarking.in_prompt(record.prompt.get("messages") or ())) is not None:
            unmark(unmarking, choices)
        if x.guard is not None and x.guard.output:
            with x.timeline.during("guard"):
                await x.guard.answer(choices)
        answer.update(ours)
        answer.pop("timings", None)
        if job.transform is not None:
            job.transform(answer)
        record.heard = CompleteAnswer([_choice(c) for c in choices], usage)
        if record.has_more_to_say:
            texts = {c.get("index", 0): _message(c).get("content") or "" for c in choices}
            fields = await record.annotate(texts, usage)
            for choice in choices:
                _message(choice).update(fields.get(choice.get("index", 0), {}))
            record.heard = CompleteAnswer([_choice(c) for c in choices], usage)
        if job.path == CHAT:
            answer = {**answer, "choices": [complete_choice(choice) for choice in choices]}
        await record.complete(lambda: orjson.dumps(answer))
        return answer

    async def _stream(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord, ours: dict[str, str]
    ) -> None:
        record.prompt |= {"stream": True, "stream_options": {"include_usage": True}}
        hold_finish = record.has_more_to_say or job.keeper is not None
        relay = job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=hold_finish, transform=job.transform)
        relay.counted = endpoint.counted
        relay.asked = record.prompt
        record.heard = relay
        error: ApiError | None = None
        async with self._streamed(endpoint, job.path, record.prompt) as response:
            piece = await first_piece(response)
            await x.start_stream()
            await x.write(relay.head())
            try:
                unmarking = Unmarking.in_prompt(record.prompt.get("messages") or ())
                rest = await _copy(x, relay, piece, response, unmarking)
                # Other relays may number their frames.
                if job.relay is not None or (job.annotator is not None and job.annotator.slow):
                    await x.write(rest)
                    rest = b""
                if record.has_more_to_say:
                    record.beside = await record.annotate(relay.texts(), relay.usage)
                    relay.annotate(record.beside)
                rest += relay.tail()
            except (FrameError, EngineError, aiohttp.ClientError, TimeoutError):
                # The head has been sent: one error frame without an end mark, so that the answer does not look
                # complete.
                error = upstream("The model's answer was cut off.")
                metrics.count_failure(job.route.served, "error")
                x.fail(error)
                rest = x.error_frame(error)
            finally:
                if tracing.recording_span() is not None:
                    tracing.answered(relay.choices(), relay.usage)
                book(x, job, relay.usage)
                _observe(x, relay)
        if error is None:
            await record.complete(lambda: rest)
        else:
            await record.abort("error", error.code)
        await x.write(rest, last=True)

    def _streamed(
        self, endpoint: Endpoint, path: str, document: dict[str, Any]
    ) -> AbstractAsyncContextManager[EngineResponse]:
        if sequential_choices.needed(endpoint, document):
            return sequential_choices.stream(self._upstream, endpoint, path, document)
        return self._upstream.post(endpoint, path, document)


def _named(e: EngineBusy | EngineUnavailable, route: Route, problem: str) -> str:
    """Returns the error message for the caller, without names that the caller did not use."""
    if route.model == route.requested and route.adapts is None:
        return str(e)
    log.warning("a request to %s is not answered: %s", route.requested, e)
    return f"what answers for {route.requested} {problem}"


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns the message of a choice; an empty one if the engine sends none."""
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns a choice of a chat or a completion in a chat's format, without log probabilities."""
    message = choice.get("message") or {"role": "assistant", "content": choice.get("text")}
    return {"index": choice.get("index", 0), "message": message, "finish_reason": choice.get("finish_reason")}


async def _copy(
    x: Exchange, relay: Relay, piece: bytes, response: EngineResponse, unmarking: Unmarking | None
) -> bytes:
    """Relays the stream that begins with `piece`; returns what arrived with the end mark, to be sent with the tail.

    Each send is a system call and wakes HAProxy and the caller: a short stream has four instead of six.
    """
    rest = b""
    guarded = GuardedStream(x.guard) if x.guard is not None and x.guard.output else None
    unmarked = UnmarkedStream(unmarking) if unmarking is not None else None
    while piece:
        piece = piece if unmarked is None else unmarked.feed(piece)
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
    x.written = tokens = x.written or relay.tokens
    if relay.first_token is None or relay.last_token is None or x.background:
        return  # the first token was not streamed
    length = length_of(tokens)
    begun = relay.first_token - x.timeline.start
    metrics.child(metrics.ttft_seconds, x.served).observe(begun)
    if x.released is not None:
        metrics.child(metrics.release_ttft_seconds, *x.released).observe(begun)
    metrics.judge("time_to_first_token", x.served, length, begun, x.objectives.first_token_s)
    if tokens > 1:
        pace = (relay.last_token - relay.first_token) / (tokens - 1)
        metrics.child(metrics.inter_token_seconds, x.served).observe(pace)
        metrics.judge("inter_token_latency", x.served, length, pace, x.objectives.between_tokens_s)


def book(x: Exchange, job: GenerationJob, usage: dict[str, Any]) -> None:
    """Records the tokens of an answer, and their cost if it is known."""
    x.usage = usage
    x.written = usage.get("completion_tokens") or 0
    count_tokens(job.route.served, x.caller.tenant, usage)
    x.cost = cost = cost_of(usage, job.route.price)
    if x.charge is not None and (usage or job.solver is None):
        x.charge.book(usage, cost)
    if cost is not None:
        count_cost(job.route.served, x.caller.tenant, cost)
        if x.assistant is not None:
            metrics.child(metrics.assistant_cost, x.assistant, cost.currency).inc(float(cost.amount))
