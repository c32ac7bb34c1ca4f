"""What an assistant reads to answer, and what of it supports the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.assistants import spotlight
from serving.assistants.tools.builtin import Search
from serving.config import Assistant
from serving.engines.router import Route
from serving.inference.citations import citation_fields
from serving.inference.conversation_context import ConversationContext
from serving.inference.exchange import Exchange
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import invalid
from serving.retrieval.client import RetrievalClient
from serving.retrieval.types import Hit
from serving.telemetry import metrics


class DocumentSearch:
    """Searches the documents of assistants."""

    def __init__(self, retrieval: RetrievalClient) -> None:
        self._retrieval = retrieval

    async def search(self, x: Exchange, route: Route, body: ChatRequest, param: str) -> Sequence[Hit] | None:
        """Returns what was found, empty when nothing is good enough, None when the assistant reads nothing."""
        assistant = route.assistant
        if assistant is None or not assistant.knowledge:
            return None
        question = next((m.text() for m in reversed(body.messages) if m.role == "user"), "").strip()
        if not question:
            raise invalid("This assistant needs a user message with text.", param)
        with x.timeline.during("retrieve"):
            return await self._readable_hits(x, assistant, question)

    def tool(self, x: Exchange, route: Route, found: list[Hit]) -> Search:
        """Returns the search that a model itself calls; what it finds is added to `found`."""
        assistant = route.assistant
        if assistant is None:
            raise AssertionError("only assistants retrieve")

        async def search(query: str) -> Sequence[Hit]:
            hits = await self._readable_hits(x, assistant, query)
            known = {hit.chunk_id for hit in found}
            found.extend(hit for hit in hits if hit.chunk_id not in known)
            return hits

        return search

    async def _readable_hits(self, x: Exchange, assistant: Assistant, question: str) -> Sequence[Hit]:
        """Returns the chunks that the model may read."""
        hits = await self._retrieval.context(x.caller, spotlight.budgeted(assistant), question)
        return hits if x.guard is None else await x.guard.hits(hits)

    def annotator(
        self, x: Exchange, hits: Sequence[Hit] | None, context: ConversationContext | None, *, slow: bool
    ) -> AnswerAnnotator | None:
        """Returns what puts citations and memory's report beside an answer, None when there are none."""
        if hits is None and context is None:
            return None
        return AnswerAnnotator(self._retrieval, x, hits, context, slow=slow)


class AnswerAnnotator:
    """Puts beside an answer the citations of `hits`, and how much the model was shown of what was said before."""

    def __init__(
        self,
        retrieval: RetrievalClient,
        x: Exchange,
        hits: Sequence[Hit] | None,
        context: ConversationContext | None,
        *,
        slow: bool,
    ) -> None:
        self._retrieval = retrieval
        self._x = x
        self._hits = hits
        self._context = context
        self.slow = slow

    async def annotate(self, texts: dict[int, str]) -> dict[int, dict[str, Any]]:
        """Returns the fields beside the text of each choice."""
        fields: dict[int, dict[str, Any]] = {}
        for index, text in texts.items():
            fields[index] = {}
            if self._hits:
                found = await self._retrieval.attribute(text, self._hits)
                metrics.unsupported.labels(self._x.model).inc(len(found.unsupported))
                fields[index] = citation_fields(found.citations, found.unsupported, len(self._hits))
            elif self._hits is not None:
                fields[index] = citation_fields((), (), 0)
            if self._context is not None:
                fields[index].setdefault("headrace", {})["memory"] = self._context.report
        return fields


async def refusal_fields(context: ConversationContext | None) -> dict[str, Any]:
    """Returns what stands beside an answer when retrieval found nothing to answer from."""
    fields = citation_fields((), (), 0)
    if context is not None:
        await context.count()
        fields["headrace"]["memory"] = context.report
    return fields
