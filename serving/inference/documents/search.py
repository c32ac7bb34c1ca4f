"""Searches documents for an answer, and attributes the answer to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.assistants import spotlight
from serving.assistants.reader import reader
from serving.assistants.small_talk import is_small_talk
from serving.assistants.tools.builtin import Search
from serving.config import Assistant
from serving.core.principal import STACK
from serving.engines.router import Route
from serving.inference.conversation_context import ConversationContext
from serving.inference.documents.answers import DocumentAnswer, question_of, quoted, refusal
from serving.inference.documents.citations import CitationKind, citation_fields
from serving.inference.documents.supported_answer import SupportPolicy
from serving.inference.exchange import Exchange
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import forbidden, invalid, not_found
from serving.protocol.knowledge import Knowledge
from serving.retrieval.client import RetrievalClient
from serving.retrieval.excerpts.quote import quotation as quotation_of
from serving.retrieval.types import Attribution, Hit
from serving.store.users import ADMIN
from serving.store.values import Attribute
from serving.store.vector_stores import VectorStores
from serving.telemetry import metrics


class DocumentSearch:
    """Searches the documents of assistants, and vector stores named in requests."""

    def __init__(self, retrieval: RetrievalClient, stores: VectorStores) -> None:
        self._retrieval = retrieval
        self._stores = stores

    @property
    def embedders(self) -> Sequence[str]:
        """Names of retrieval's own embedders, which embed texts for callers too."""
        return self._retrieval.local

    async def check(self, x: Exchange, route: Route, body: ChatRequest, field: str = "knowledge") -> None:
        """Raises `ApiError` unless the caller may read the vector stores that a request names in `field`, and what it
        says there fits its assistant.
        """
        if body.knowledge is None:
            return
        own = route.assistant.unsupported if route.assistant is not None else None
        if own is not None and body.knowledge.unsupported not in (None, own):
            raise invalid(f"This assistant has unsupported: {own}; leave it out.", f"{field}.unsupported")
        if "data:read" not in x.caller.scopes:
            raise forbidden("insufficient_scope", "Searching documents requires a key with the scope data:read.", field)
        ids = body.knowledge.vector_store_ids
        known = await self._stores.readable_ids(x.caller, ids)
        if any(id not in known for id in ids):
            raise not_found("vector store", f"{field}.vector_store_ids")

    async def search(
        self, x: Exchange, route: Route, body: ChatRequest, param: str, context: ConversationContext | None
    ) -> Sequence[Hit] | None:
        """Returns the hits, empty when nothing is relevant; None when the answer needs no documents."""
        assistant = reader(route, body)
        if assistant is None:
            return None
        question = question_of(body)
        if not question:
            raise invalid("Searching documents requires a user message with text.", param)
        with x.timeline.during("retrieve"):
            before = await asked_before(body, context)
            return await self._readable_hits(x, within_tokens(assistant, body), route, body, question, before)

    async def quoted(
        self, x: Exchange, hits: Sequence[Hit], context: ConversationContext | None, kind: CitationKind
    ) -> DocumentAnswer:
        """Returns the answer that quotes `hits`."""
        return await quoted(x, self._retrieval, hits, context, kind)

    async def refused(
        self,
        x: Exchange,
        assistant: Assistant,
        context: ConversationContext | None,
        more: tuple[Sequence[str], Knowledge | None] = ((), None),
    ) -> DocumentAnswer:
        """Returns the answer when nothing relevant is found; it says so if files are still being read.

        `more` are the vector stores that are searched beside those of the assistant.
        """
        told = self._retrieval.collections_for(x.caller, assistant.knowledge)
        own = [await self._stores.named(STACK, ADMIN, name) for name in told]
        stores, knowledge = more
        asked = knowledge.vector_store_ids if knowledge is not None else ()
        unread = await self._stores.unread({id for id in (*own, *stores, *asked) if id})
        return await refusal(x, assistant, context, unread)

    async def attributes(
        self, x: Exchange, stores: Sequence[str], hits: Sequence[Hit]
    ) -> dict[str, dict[str, Attribute]]:
        """Returns the attributes of the files of `hits`, by id, from the first of `stores` that has each file."""
        found: dict[str, dict[str, Attribute]] = {}
        files = list(dict.fromkeys(hit.file_id for hit in hits))
        for id in stores:
            found = await self._stores.attributes(x.caller, id, files) | found
        return found

    def tool(self, x: Exchange, route: Route, body: ChatRequest, found: list[Hit]) -> Search:
        """Returns the search tool that the model itself calls; its hits are added to `found`."""
        assistant = reader(route, body)
        if assistant is None:
            raise AssertionError("only what reads documents has this tool")

        async def search(query: str) -> Sequence[Hit]:
            hits = await self._readable_hits(x, assistant, route, body, query)
            known = {hit.chunk_id for hit in found}
            found.extend(hit for hit in hits if hit.chunk_id not in known)
            return hits

        return search

    async def _readable_hits(
        self, x: Exchange, assistant: Assistant, route: Route, body: ChatRequest, question: str, before: str = ""
    ) -> Sequence[Hit]:
        """Returns the chunks for the model's prompt."""
        within = spotlight.budgeted(assistant)
        hits = await self._retrieval.context(x.caller, within, question, before, route.stores, body.knowledge)
        return hits if x.guard is None else await x.guard.hits(hits)

    def policy(self, assistant: Assistant | None, hits: Sequence[Hit] | None) -> SupportPolicy | None:
        """Returns how an answer that `hits` do not support is handled; None if it is shown with marks."""
        if assistant is None or hits is None or assistant.unsupported in (None, "mark"):
            return None
        return SupportPolicy(self._retrieval, assistant, hits)

    def annotator(
        self,
        x: Exchange,
        hits: Sequence[Hit] | None,
        context: ConversationContext | None,
        *,
        kind: CitationKind,
        slow: bool,
        assistant: Assistant | None = None,
    ) -> AnswerAnnotator | None:
        """Returns the annotator that adds citations and memory's report to an answer; None if there are none."""
        if hits is None and context is None:
            return None
        return AnswerAnnotator(self._retrieval, x, hits, context, kind=kind, slow=slow, assistant=assistant)


class AnswerAnnotator:
    """Adds to an answer the citations of `hits`, and the report on the conversation context."""

    def __init__(
        self,
        retrieval: RetrievalClient,
        x: Exchange,
        hits: Sequence[Hit] | None,
        context: ConversationContext | None,
        *,
        kind: CitationKind,
        slow: bool,
        assistant: Assistant | None = None,
    ) -> None:
        self._assistant = assistant
        self._retrieval = retrieval
        self._x = x
        self._hits = hits
        self._context = context
        self._kind: CitationKind = kind
        self.slow = slow

    async def annotate(self, texts: dict[int, str]) -> dict[int, dict[str, Any]]:
        """Returns the fields beside the text of each choice."""
        fields: dict[int, dict[str, Any]] = {}
        for index, text in texts.items():
            fields[index] = {}
            if self._hits:
                found = await self._attribution(text, self._hits)
                metrics.unsupported.labels(self._x.served).inc(len(found.unsupported))
                fields[index] = citation_fields(found.citations, found.unsupported, len(self._hits), self._kind)
            elif self._hits is not None:
                fields[index] = citation_fields((), (), 0)
            if self._context is not None:
                fields[index].setdefault("headrace", {}).update(self._context.answer_fields(text))
        return fields

    async def _attribution(self, text: str, hits: Sequence[Hit]) -> Attribution:
        assistant = self._assistant
        if assistant is not None and assistant.unsupported not in (None, "mark"):
            if text == assistant.refusal:
                return Attribution((), ())
            if text == (quotation := quotation_of(hits)).text:
                return quotation.attribution
            return quotation.cited_again(text, await self._retrieval.attribute(text, hits))
        return await self._retrieval.attribute(text, hits)


def within_tokens(assistant: Assistant, body: ChatRequest) -> Assistant:
    """Returns the assistant with the caller's token budget for quotes, which are the answer itself."""
    asked = body.max_completion_tokens or body.max_tokens
    if assistant.unsupported != "quote" or asked is None or asked >= assistant.context_tokens:
        return assistant
    return assistant.model_copy(update={"context_tokens": asked})


async def asked_before(body: ChatRequest, context: ConversationContext | None) -> str:
    """Returns the question before the last one, in a request or in the turns before it; empty if there is none."""
    users = [text for m in body.messages if m.role == "user" and (text := m.text().strip())]
    within = next((text for text in reversed(users[:-1]) if not is_small_talk(text)), "")
    return within or (await context.asked_before() if context is not None else "")
