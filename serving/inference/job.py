"""One generation: what to ask an engine, and the record of what it said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from serving.engines.endpoint import Endpoint
from serving.engines.router import Route
from serving.inference.exchange import Exchange
from serving.inference.outcome import AnswerKeeper, Outcome, ending
from serving.inference.relay import Relay
from serving.metering.cost import cost_of
from serving.protocol.chat import Sampling
from serving.protocol.errors import ApiError, upstream
from serving.store.captures import Ending
from serving.store.errors import StoreError

log = logging.getLogger("headrace.api")

CHAT = "/chat/completions"

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "n")


class Memory(Protocol):
    """What was said before."""

    async def recall(self, endpoint: Endpoint, document: dict[str, Any]) -> None:
        """Puts it into an engine's document, once it is known which engine reads that."""
        ...


class Solver(Protocol):
    """Answers in place of one plain generation."""

    @property
    def resumes(self) -> bool:
        """Whether another engine can go on with what was begun and shown."""
        ...

    async def solve(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord, ours: dict[str, str]
    ) -> dict[str, Any] | None:
        """Returns the whole answer, or None after it was streamed, with the `id` and `model` of `ours`.

        What it finds it puts into `record`, and completes that before the caller learns of the end.
        """
        ...


class Annotator(Protocol):
    """What stands beside an answer."""

    slow: bool
    """Whether it takes time to find."""

    async def annotate(self, texts: dict[int, str]) -> dict[int, dict[str, Any]]:
        """Returns, from the text of each choice, the fields that its message gets beside it."""
        ...


@dataclass(frozen=True, slots=True)
class GenerationJob:
    """One generation.

    `relay` is of another kind of stream than a chat's, and `param` the request's field that holds what is asked.
    `effort` are the tokens that a `solver` may use beside the answer's.
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
    """Returns the sampling fields that were given, as engines take them."""
    return {name: value for name in _SAMPLING if (value := getattr(body, name)) is not None}


class AnswerSoFar(Protocol):
    """What an engine has said so far."""

    def choices(self) -> list[dict[str, Any]]:
        """Returns it as the choices of a whole answer."""
        ...

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens that the engine reported; empty where they are not known."""
        ...


class CompleteAnswer:
    """A whole answer, as `AnswerSoFar`."""

    def __init__(self, choices: list[dict[str, Any]], usage: dict[str, Any]) -> None:
        self._choices = choices
        self.usage = usage

    def choices(self) -> list[dict[str, Any]]:
        """Returns the choices."""
        return self._choices


class GenerationRecord:
    """What an engine was sent and has said so far; has the job's keeper keep it at the end, once.

    `heard` is what the engine has said, and `steps` are those of a strategy. `beside` is what stands beside each
    choice that was heard.
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
        """Whether something stands beside an answer: its citations, its memory, its cost."""
        beside = self._job.route.price is not None or self._x.guard is not None
        return self._job.annotator is not None or (beside and self._job.path == CHAT)

    async def annotate(self, texts: dict[int, str], usage: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Returns the fields beside each of a chat's choices; what all of them cost stands beside the first."""
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
        """The engine has said all, and the caller is sent `last` next. Raises what the keeper raises."""
        choices, usage = self.heard.choices(), self.heard.usage
        if not choices:
            raise upstream("The model's answer has no choices.")
        if self._job.keeper is not None:
            await self._keep(self._job.keeper, self._outcome(ending(choices), choices, usage, last=last))

    async def abort(self, kind: Ending, code: str | None = None) -> None:
        """The engine or the caller broke off. That it cannot be stored does not hide why."""
        self._x.timeline.cut()  # what was waited for is not the time to store it
        if self._job.keeper is None or self._kept:
            return
        outcome = self._outcome(kind, self.heard.choices(), self.heard.usage, code)
        try:
            await self._keep(self._job.keeper, outcome)
        except (ApiError, StoreError) as e:
            log.warning("request %s: a completion that broke off is not stored: %s", self._x.request_id, e)

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

    async def _keep(self, keeper: AnswerKeeper, outcome: Outcome) -> None:
        self._kept = True  # also when this is cancelled: what is stored is stored
        try:
            await keeper.keep(outcome)
        except Exception:
            self._kept = False
            raise
        self._x.timeline.end_of("store")
