"""Answers that the caller gets only after documents are known to support them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.assistants.strategies.model import PromptTooLong, TokenUsage
from serving.config import Assistant
from serving.engines.client import EngineClient
from serving.engines.endpoint import Endpoint
from serving.inference.engine_model import EngineModel, completion_tokens
from serving.inference.exchange import Exchange
from serving.inference.generation import book
from serving.inference.job import CompleteAnswer, GenerationJob, GenerationRecord, finish_solved
from serving.inference.relay import Relay
from serving.protocol.errors import invalid
from serving.retrieval.client import RetrievalClient
from serving.retrieval.excerpts.quote import quotation
from serving.retrieval.types import Hit
from serving.telemetry import metrics

RETRIES = 2
"""Number of retries when an answer has a sentence that no document supports."""

RETRY_TEMPERATURE = 0.7
"""Minimum temperature of a retry: without sampling it would return the same answer."""


@dataclass(frozen=True, slots=True)
class SupportPolicy:
    """The text that replaces an answer that `hits` do not support."""

    retrieval: RetrievalClient
    assistant: Assistant
    hits: Sequence[Hit]

    async def holds(self, x: Exchange, text: str) -> bool:
        """Returns whether documents support every sentence of an answer."""
        with x.timeline.during("cite"):
            found = await self.retrieval.attribute(text, self.hits)
        metrics.unsupported.labels(x.served).inc(len(found.unsupported))
        return not found.unsupported

    async def instead(self, x: Exchange) -> str:
        """Returns the text that replaces an unsupported answer, after its output guardrails."""
        if self.assistant.unsupported != "quote" or not self.hits:
            return self.assistant.refusal
        text = quotation(self.hits).text
        if x.guard is None or not x.guard.output:
            return text
        checked = await x.guard.check(text, "output", "choices[0].content")
        return self.assistant.refusal if checked.blocked else checked.text


class _Asking:
    """The tokens of all requests to the model so far."""

    def __init__(self) -> None:
        self.tokens = TokenUsage()

    @property
    def usage(self) -> dict[str, Any]:
        """The usage for the answer; empty if the engine reports none."""
        tokens = self.tokens
        if not tokens.total:
            return {}
        return {
            "prompt_tokens": tokens.prompt_tokens,
            "completion_tokens": tokens.completion_tokens,
            "total_tokens": tokens.total,
            "prompt_tokens_details": {"cached_tokens": tokens.cached_tokens},
        }


class SupportedAnswer:
    """Answers one request directly, but holds the answer back until `policy` is satisfied."""

    resumes = False

    def __init__(self, client: EngineClient, policy: SupportPolicy) -> None:
        self._client = client
        self._policy = policy

    def effort(self, document: dict[str, Any]) -> int:
        """Returns the number of tokens for retries."""
        tries = RETRIES if self._policy.assistant.unsupported == "retry" else 0
        return tries * completion_tokens(document.get("max_tokens"), None)

    async def solve(
        self, x: Exchange, job: GenerationJob, endpoint: Endpoint, record: GenerationRecord, ours: dict[str, str]
    ) -> dict[str, Any] | None:
        """Returns the complete answer, or None after it was streamed. Raises `ApiError`."""
        sampling = {name: value for name, value in record.prompt.items() if name != "messages"}
        model = EngineModel(self._client, endpoint, sampling)
        asking = _Asking()
        try:
            text, reason = await self._answer(x, model, record, asking)
        except PromptTooLong:
            raise invalid(
                "The prompt does not fit into the model's context.", job.param, "context_length_exceeded"
            ) from None
        finally:
            book(x, job, asking.usage)
            if model.unknown and x.charge is not None:
                x.charge.lose()
        usage = asking.usage
        fields = (await record.annotate({0: text}, usage)).get(0, {})
        choice = {"index": 0, "message": {"role": "assistant", "content": text, **fields}, "finish_reason": reason}
        record.heard = CompleteAnswer([choice], usage)
        relay = None
        if job.stream:
            relay = job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=True)
            await x.start_stream()
            await x.write(relay.head() + relay.answer(text, reason, usage))
        return await finish_solved(x, record, ours, choice, fields, usage, relay=relay)

    async def _answer(
        self, x: Exchange, model: EngineModel, record: GenerationRecord, asking: _Asking
    ) -> tuple[str, str]:
        """Returns the text and its finish reason."""
        temperature = record.prompt.get("temperature")
        tries = 1 + RETRIES if self._policy.assistant.unsupported == "retry" else 1
        for attempt in range(tries):
            if attempt:
                temperature = max(temperature or 0.0, RETRY_TEMPERATURE)
            generation = await model.generate(record.prompt["messages"], temperature=temperature)
            asking.tokens += generation.usage
            completion = generation.completions[0]
            text, reason = completion.text, completion.finish_reason
            x.timeline.end_of("reason")
            if x.guard is not None and x.guard.output:
                checked = await x.guard.check(text, "output", "choices[0].content")
                text = checked.text
                if checked.blocked:
                    return text, "content_filter"
            if text.strip() and await self._policy.holds(x, text):
                return text, reason
        return await self._policy.instead(x), "stop"
