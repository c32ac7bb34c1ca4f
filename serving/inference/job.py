"""A generation job: the engine's request, and the record of its answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from serving.engines.endpoint import Endpoint
from serving.engines.router import Route
from serving.inference.exchange import Exchange
from serving.inference.outcome import AnswerKeeper, Outcome, ending, finish_reason
from serving.inference.relay import Relay
from serving.metering.cost import cost_of
from serving.protocol.chat import Sampling
from serving.protocol.choices import complete_choice
from serving.protocol.errors import ApiError, upstream
from serving.store.captures import Ending
from serving.store.errors import StoreError
from serving.telemetry import metrics

log = logging.getLogger("headrace.api")

CHAT = "/chat/completions"

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "n")


class Memory(Protocol):
    """Earlier messages for the prompt."""

    async def recall(self, endpoint: Endpoint, document: dict[str, Any]) -> None:
        """Adds them to an engine's request, once the engine is known."""
        ...

    def answer_fields(self, text: str) -> dict[str, Any]:
        """Returns what the caller is told beside an answer with this text."""
        ...


class Solver(Protocol):
    """Answers a job instead of one plain generation."""

    @property
    def resumes(self) -> bool:
        """Whether another engine can continue after parts were streamed."""
        ...

    async def solve(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord, ours: dict[str, str]
    ) -> dict[str, Any] | None:
        """Returns the complete answer, or None after it was streamed, with the `id` and `model` of `ours`.

        It fills `record`, and completes it before the caller gets the end.
        """
        ...


class Annotator(Protocol):
    """Adds fields beside an answer."""

    slow: bool
    """Whether annotating takes time."""

    async def annotate(self, texts: dict[int, str]) -> dict[int, dict[str, Any]]:
        """Returns, for the text of each choice, the fields beside its message."""
        ...


@dataclass(frozen=True, slots=True)
class GenerationJob:
    """One generation.

    `relay` produces another kind of stream than a chat's, and `param` is the request's field with the input. `effort`
    is the number of tokens that a `solver` may use in addition to the answer's.
    """

    id: str
    path: str
    route: Route
    document: dict[str, Any]
    stream: bool
    want_usage: bool
    text_only: bool = True
    memory: Memory | None = None
    annotator: Annotator | None = None
    keeper: AnswerKeeper | None = None
    solver: Solver | None = None
    transform: Callable[[dict[str, Any]], None] | None = None
    relay: Relay | None = None
    param: str = "messages"
    effort: int = 0


def sampling_fields(body: Sampling) -> dict[str, Any]:
    """Returns the sampling fields of a request in the engines' format."""
    return {name: value for name in _SAMPLING if (value := getattr(body, name)) is not None}


class AnswerSoFar(Protocol):
    """The part of an answer that an engine has sent."""

    def choices(self) -> list[dict[str, Any]]:
        """Returns the choices in the format of a complete answer."""
        ...

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens that the engine reported; empty if unknown."""
        ...


class CompleteAnswer:
    """A complete answer, as `AnswerSoFar`."""

    def __init__(self, choices: list[dict[str, Any]], usage: dict[str, Any]) -> None:
        self._choices = choices
        self.usage = usage

    def choices(self) -> list[dict[str, Any]]:
        """Returns the choices."""
        return self._choices


class GenerationRecord:
    """The engine's request and its answer so far; at the end, the job's keeper stores it, once.

    `heard` is the answer so far, `steps` are those of a strategy, and `beside` are the fields beside each choice.
    """

    def __init__(self, x: Exchange, job: GenerationJob, prompt: dict[str, Any]) -> None:
        self._x = x
        self._job = job
        self.prompt = prompt
        self.heard: AnswerSoFar = CompleteAnswer([], {})
        self.beside: Mapping[int, dict[str, Any]] = {}
        self.steps: list[dict[str, Any]] = []
        self._kept = False

    @property
    def has_more_to_say(self) -> bool:
        """Whether there are fields beside the answer: citations, memory's report, cost."""
        beside = self._job.route.price is not None or self._x.guard is not None
        return self._job.annotator is not None or (beside and self._job.path == CHAT)

    async def annotate(self, texts: dict[int, str], usage: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Returns the fields beside each of a chat's choices; the first has the cost of all."""
        fields: dict[int, dict[str, Any]] = {}
        if self._job.annotator is not None:
            with self._x.timeline.during("cite"):
                fields = await self._job.annotator.annotate(texts)
        if (cost := cost_of(usage, self._job.route.price)) is not None:
            fields.setdefault(0, {}).setdefault("headrace", {})["cost"] = cost.document
        if self._x.guard is not None and self._x.guard.report:
            fields.setdefault(0, {}).setdefault("headrace", {})["guardrails"] = self._x.guard.report
        return fields

    async def complete(self, last: Callable[[], bytes]) -> None:
        """Stores the complete answer, before `last` is sent to the caller. Raises what the keeper raises."""
        choices, usage = self.heard.choices(), self.heard.usage
        if not choices:
            raise upstream("The model's answer has no choices.")
        self._x.finish_reason = finish_reason(choices)
        metrics.child(metrics.answers, self._job.route.served, ending(choices)).inc()
        if self._job.keeper is not None:
            await self._keep(self._job.keeper, self._outcome(ending(choices), choices, usage, last=last))

    async def abort(self, kind: Ending, code: str | None = None) -> None:
        """Stores an answer that the engine or the caller interrupted. An error of the store does not hide the cause."""
        self._x.timeline.cut()  # the cancelled work's own exceptions must not interrupt storing
        if self._job.keeper is None or self._kept:
            return
        outcome = self._outcome(kind, self.heard.choices(), self.heard.usage, code)
        try:
            await self._keep(self._job.keeper, outcome)
        except (ApiError, StoreError) as e:
            log.warning("request %s: an interrupted completion is not stored: %s", self._x.request_id, e)

    def stopped(self) -> bytes:
        """Returns the end of a stream that its caller stopped; empty if nothing was streamed."""
        if not isinstance(self.heard, Relay):
            return b""
        memory, text = self._job.memory, self.heard.texts().get(0, "")
        beside = {"headrace": memory.answer_fields(text)} if memory is not None and text else {}
        return self.heard.stopped(beside, chat=self._job.path == CHAT)

    def _outcome(
        self,
        kind: Ending,
        choices: list[dict[str, Any]],
        usage: dict[str, Any],
        code: str | None = None,
        last: Callable[[], bytes] = bytes,
    ) -> Outcome:
        if self.beside:
            choices = [{**c, "message": {**c["message"], **self.beside.get(c["index"], {})}} for c in choices]
        cost = cost_of(usage, self._job.route.price)
        said = self._reported(choices)
        return Outcome(
            self._job.id, kind, self.prompt, said, usage, code, self.steps, cost, last, route=self._job.route
        )

    def _reported(self, choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the choices with the guardrails' findings, even if the caller's answer does not have these."""
        if self._x.guard is None or not self._x.guard.report:
            return choices
        beside = {"guardrails": self._x.guard.report}
        return [
            {**c, "message": {**c["message"], "headrace": {**c["message"].get("headrace", {}), **beside}}}
            if i == 0
            else c
            for i, c in enumerate(choices)
        ]

    async def _keep(self, keeper: AnswerKeeper, outcome: Outcome) -> None:
        self._kept = True  # shielded: storing continues even when the request is cancelled
        try:
            await keeper.keep(outcome)
        except Exception:
            self._kept = False
            raise
        self._x.timeline.end_of("store")


async def begin_stream(x: Exchange, relay: Relay) -> None:
    """Begins the stream, if it has not begun: what fails before is an error of its own."""
    if not x.started:
        await x.start_stream()
        await x.write(relay.head())


async def finish_solved(
    x: Exchange,
    record: GenerationRecord,
    ours: dict[str, str],
    choice: dict[str, Any],
    fields: dict[str, Any],
    usage: dict[str, Any],
    *,
    relay: Relay | None,
    reasoning: str | None = None,
) -> dict[str, Any] | None:
    """Has a solver's answer kept, then sends what is left of its stream, or returns it whole where there is no `relay`.

    `fields` are those of the choice's message that stand beside the text, which was sent already. `reasoning` is told
    in a whole answer alone, since a stream has told the steps as they came.
    """
    record.heard = CompleteAnswer([choice], usage)
    if relay is not None:
        await begin_stream(x, relay)
        relay.annotate({0: fields})
        rest = relay.tail()
        await record.complete(lambda: rest)
        await x.write(rest, last=True)
        return None
    beside = {} if reasoning is None else {"reasoning_content": reasoning}
    told = complete_choice({**choice, "message": {**choice["message"], **beside}})
    created = int(time.time())
    whole = {**ours, "object": "chat.completion", "created": created, "choices": [told], "usage": usage or None}
    await record.complete(lambda: orjson.dumps(whole))
    return whole
