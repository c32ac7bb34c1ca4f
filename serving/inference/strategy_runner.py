"""Answers by a strategy: streams its steps and its answer to the caller."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from serving.assistants.sandbox.pool import SandboxFull, SandboxOf, SandboxUnavailable
from serving.assistants.spotlight import Spotlight
from serving.assistants.strategies.model import PromptTooLong
from serving.assistants.strategies.run import run
from serving.assistants.strategies.work import Step, Work
from serving.assistants.tools.builtin import Search, tools
from serving.assistants.tools.catalogue import CatalogTools
from serving.assistants.tools.tool import Toolbox
from serving.config import TOOLS, React, ReactCotSc, Reasoning
from serving.engines.client import EngineClient
from serving.engines.endpoint import Endpoint
from serving.engines.token_counter import TokenCounter
from serving.inference.approvals import GivenApprovals
from serving.inference.documents.supported_answer import SupportPolicy
from serving.inference.engine_model import EngineModel, completion_tokens
from serving.inference.exchange import Exchange
from serving.inference.generation import book
from serving.inference.job import GenerationJob, GenerationRecord, Memory, begin_stream, finish_solved
from serving.inference.relay import Relay
from serving.inference.steps import step_fields
from serving.inference.steps import step_text as in_words
from serving.protocol.errors import busy, invalid, unavailable
from serving.telemetry import metrics, tracing
from serving.telemetry.tracing import Value

log = logging.getLogger("headrace.api")

_OURS = ("messages", "tool_choice", "response_format")
"""Fields of an engine's request that the strategy sets."""

INSTRUCTIONS = 512
"""Number of prompt tokens that memory leaves free for the strategy's own prompts."""


@dataclass(frozen=True, slots=True)
class Acting:
    """The tools of one request: those of the catalogue, the caller's approvals, and the rules for asking."""

    catalogue: CatalogTools
    approving: GivenApprovals
    tainted: Callable[[], bool]


class _LeavingRoom:
    """Memory that uses only a part of the available window."""

    def __init__(self, memory: Memory, client: EngineClient, added: int) -> None:
        self._memory = memory
        self._client = client
        self._added = added

    async def recall(self, endpoint: Endpoint, document: dict[str, Any]) -> None:
        window = await TokenCounter(self._client, endpoint).window()
        taken = completion_tokens(document.get("max_tokens"), window) + self._added
        less = {**document, "max_tokens": taken}
        await self._memory.recall(endpoint, less)
        document["messages"] = less["messages"]

    def answer_fields(self, text: str) -> dict[str, Any]:
        return self._memory.answer_fields(text)


class _Working:
    """The usage of a strategy that has not answered yet."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def choices(self) -> list[dict[str, Any]]:
        return []

    @property
    def usage(self) -> dict[str, Any]:
        return _usage(self._work)


class StrategyRunner:
    """Answers one request by `strategy`, on the engine leased for the request."""

    resumes = False

    def __init__(
        self,
        client: EngineClient,
        sandbox: SandboxOf,
        strategy: Reasoning,
        names: tuple[str, ...],
        search: Search | None,
        acting: Acting,
        policy: SupportPolicy | None = None,
        marks: Spotlight | None = None,
    ) -> None:
        self._marks = marks
        self._policy = policy
        self._client = client
        self._sandbox = sandbox
        self._strategy = strategy
        self._names = names
        self._search = search
        self._acting = acting

    def leaving_room(self, memory: Memory) -> Memory:
        """Returns `memory` with room for the strategy's prompts and its completions."""
        return _LeavingRoom(memory, self._client, self._added())

    def _added(self) -> int:
        """Returns the number of tokens for instructions: a template, tools, and a first observation."""
        given = [getattr(self._strategy, f"{name}_template", None) for name in ("cot", "pal", "react")]
        return INSTRUCTIONS + max(len(template.text) if template else 0 for template in given) // 2

    async def solve(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord, ours: dict[str, str]
    ) -> dict[str, Any] | None:
        """Returns the complete answer, or None after it was streamed. Raises `ApiError`."""
        with tracing.agent(job.route.requested, endpoint.model):
            return await self._solve(x, job, endpoint, record, ours)

    async def _solve(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord, ours: dict[str, str]
    ) -> dict[str, Any] | None:
        strategy = self._strategy
        relay = (job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=True)) if job.stream else None

        async def on_step(step: Step) -> None:
            metrics.child(metrics.strategy_steps, strategy.kind, step.kind).inc()
            if x.guard is not None and x.guard.output:
                step = replace(step, text=await x.guard.step(step.text))
            record.steps.append(step_fields(step))
            _trace(step)
            if relay is not None:
                await begin_stream(x, relay)
                await x.write(relay.step(record.steps[-1]))

        sampling = {name: value for name, value in record.prompt.items() if name not in _OURS}
        model = EngineModel(self._client, endpoint, sampling)
        work = Work(model, strategy.tokens, on_step)
        record.heard = _Working(work)
        others = (
            await self._acting.catalogue.get(self._names, x.caller.tenant)
            if isinstance(strategy, React | ReactCotSc)
            else []
        )

        def toolbox(settings: React | ReactCotSc) -> Toolbox:
            built_in = [name for name in self._names if name in TOOLS]
            return Toolbox(
                [*tools(built_in, sandbox=self._sandbox, search=self._search), *others],
                settings.tool_calls,
                settings.tool_seconds,
                characters=settings.tool_characters,
                # A request with approvals continues an earlier one: calls that this one made without approval are not
                # repeated.
                tainted=self._acting.tainted()
                or self._acting.catalogue.told_by_others(self._names)
                or bool(self._acting.approving.approved),
                approved=self._acting.approving.approved,
                using=self._acting.approving.use,
                changing=x.hold.pin if x.hold is not None else None,
                screen=x.guard,
                marks=self._marks,
            )

        try:
            answer = await run(strategy, work, record.prompt["messages"], sandbox=self._sandbox, toolbox=toolbox)
        except PromptTooLong:
            raise invalid(
                "The prompt does not fit into the model's context.", job.param, "context_length_exceeded"
            ) from None
        except SandboxFull:
            raise busy("Too many programs are waiting to run") from None
        except SandboxUnavailable:
            raise unavailable("Programs cannot be run here now.") from None
        finally:
            tracing.answered(None, _usage(work))
            book(x, job, _usage(work))
            if model.unknown and x.charge is not None:
                x.charge.lose()
        if x.guard is not None and x.guard.output:
            checked = await x.guard.check(answer.text, "output", "choices[0].content")
            reason = "content_filter" if checked.blocked else answer.finish_reason
            answer = replace(answer, text=checked.text, finish_reason=reason)
        x.timeline.end_of("reason")
        judged = self._policy if answer.finish_reason != "content_filter" and not answer.pending else None
        if judged is not None and not await judged.holds(x, answer.text):
            answer = replace(answer, text=await judged.instead(x), finish_reason="stop")
        made = " ".join(step.kind for step in work.steps)
        log.info("request %s: %s: %s; %d tokens", x.request_id, strategy.kind, made, work.usage.total)
        usage = _usage(work)
        if relay is not None:
            await begin_stream(x, relay)
            await x.write(relay.answer(answer.text, answer.finish_reason, usage))
        fields = (await record.annotate({0: answer.text}, usage)).get(0, {})
        fields.setdefault("headrace", {})["strategy"] = strategy.kind
        fields["headrace"]["steps"] = record.steps
        if answer.pending:
            fields["headrace"]["approvals"] = self._acting.approving.offers(answer.pending)
        message = {"role": "assistant", "content": answer.text, **fields}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
        reasoning = "".join(f"{in_words(step)}\n" for step in record.steps)
        return await finish_solved(x, record, ours, choice, fields, usage, relay=relay, reasoning=reasoning)


def _trace(step: Step) -> None:
    """Creates a span for a step, whose duration is the time since the previous one."""
    if (parent := tracing.recording_span()) is None:
        return
    # Its tokens are those of its model requests, which have the conventions' attribute for them.
    attributes: dict[str, Value] = {"headrace.step.kind": step.kind, "headrace.step.tokens": step.tokens}
    if step.name:
        attributes["gen_ai.tool.name"] = step.name
    span = parent.child(f"step {step.kind}", attributes, begin=time.perf_counter() - step.seconds)
    span.content("headrace.step.text", step.text)
    span.end()


def _usage(work: Work) -> dict[str, Any]:
    """Returns the tokens of all requests to the model; none if the engine reports none."""
    usage = work.usage
    if not usage.total:
        return {}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": sum(step.tokens for step in work.steps)},
    }
