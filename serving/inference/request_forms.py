"""Converts requests of the routes to chats for the pipeline, with their context and the place that stores
the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from serving.assistants.memory.history import ChainHistory, ConversationHistory, History
from serving.config import Instructions, Limits
from serving.core.ids import new_id
from serving.engines.endpoint import Endpoint
from serving.engines.router import Route
from serving.guardrails.history import HistoryChecker
from serving.inference.admission import Admission
from serving.inference.capture import AnswerRecorder, Place, Render
from serving.inference.conversation_context import ChatTurn, ContextSources, ConversationContext, predecessor_not_found
from serving.inference.documents.citations import CitationKind
from serving.inference.documents.search import DocumentSearch
from serving.inference.exchange import Exchange
from serving.inference.relay import Relay
from serving.inference.responses.events import ResponseRelay
from serving.inference.responses.input import answers_to_earlier_calls, chat_request, check, check_answers, own_items
from serving.inference.responses.object import QueuedResponse, ResponseObject
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import invalid
from serving.protocol.knowledge import FileSearchTool
from serving.protocol.responses import ResponseRequest
from serving.retrieval.types import Hit
from serving.store.errors import NotFound
from serving.store.responses import NewResponse, StoredResponse

Body = TypeVar("Body", ChatRequest, ResponseRequest)


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A parsed request: its chat, and what belongs to its answer.

    `body` is the request after its guardrails. `place` stores the answer, and `relay` streams it if the format is not a
    chat's. `fields` maps names in a chat to names in the request if they differ, and `param` is the field with the
    input. `searches` tells whether documents are searched, and `citations` is their format. `read` is the chat with
    files replaced by their text, if it has files. `render` converts a chat's whole answer to that of the request.
    """

    id: str
    body: ChatRequest | ResponseRequest
    chat: ChatRequest
    context: ConversationContext | None
    place: Place | None
    relay: Relay | None
    fields: Mapping[str, str]
    param: str
    searches: bool
    citations: CitationKind = "url_citation"
    read: ChatRequest | None = None
    render: Render | None = None


class Form(Protocol[Body]):
    """The request of one route."""

    body: Body

    def check(self, route: Route, recorder: AnswerRecorder) -> None:
        """Raises `ApiError` for contradictions to the route, before anything is charged."""
        ...

    async def read(
        self, x: Exchange, route: Route, body: Body, instructions: Instructions, screen: HistoryChecker | None
    ) -> ParsedRequest:
        """Returns the parsed `body`, which guardrails have checked; raises `ApiError`."""
        ...

    async def searched(self, x: Exchange, documents: DocumentSearch, question: str, hits: Sequence[Hit]) -> None:
        """Records a search that the request asks for, and its hits."""
        ...


class ChatForm:
    """A chat completion."""

    def __init__(self, body: ChatRequest, sources: ContextSources) -> None:
        self.body = body
        self._sources = sources

    def check(self, route: Route, recorder: AnswerRecorder) -> None:
        """Raises `ApiError` if the request stores an answer that must not be stored."""
        recorder.check_storable(route, self.body)

    async def read(
        self, x: Exchange, route: Route, body: ChatRequest, instructions: Instructions, screen: HistoryChecker | None
    ) -> ParsedRequest:
        """Returns the chat, with the turn of its conversation."""
        turn = None
        if body.conversation is not None:
            turn = ChatTurn(self._sources, x.caller, route.assistant, body, instructions=instructions, screen=screen)
        return ParsedRequest(new_id("chatcmpl"), body, body, turn, turn, None, {}, "messages", searches=True)

    async def searched(self, x: Exchange, documents: DocumentSearch, question: str, hits: Sequence[Hit]) -> None:
        """Does nothing: a chat has no field for searches."""


class ResponseForm:
    """A response. `response` is the object for the answer, set by `read`."""

    FIELDS: Mapping[str, str] = {"messages": "input", "response_format": "text.format", "knowledge": "tools"}

    def __init__(
        self,
        body: ResponseRequest,
        sources: ContextSources,
        admission: Admission,
        limits: Limits,
        queued: QueuedResponse | None = None,
    ) -> None:
        self.body = body
        self.response: ResponseObject | None = None
        self._sources = sources
        self._admission = admission
        self._limits = limits
        self._queued = queued

    def check(self, route: Route, recorder: AnswerRecorder) -> None:
        """Does nothing: the checks need the parsed request."""

    async def queue(self, x: Exchange, route: Route) -> NewResponse:
        """Returns the response that will be answered in the background; raises `ApiError`.

        Its input is stored after guardrails have checked it.
        """
        own = own_items(self.body)
        check(self.body, own, self._limits)
        answers_to_earlier_calls(own)
        await self._goes_on_from(x, self.body, None)
        return ResponseObject(self.body, assistant=route.assistant, prompt=_prompt(x)).queued()

    async def read(
        self,
        x: Exchange,
        route: Route,
        body: ResponseRequest,
        instructions: Instructions,
        screen: HistoryChecker | None,
    ) -> ParsedRequest:
        """Returns the chat, with the response or conversation that it continues."""
        own = own_items(body)
        check(body, own, self._limits)
        earlier = answers_to_earlier_calls(own)
        previous, history = await self._goes_on_from(x, body, screen)
        newest: Sequence[dict[str, Any]] = ()
        if earlier and history is not None:
            async with self._admission.admit(background=x.background, within=x.run is not None):
                newest = await _newest(history)
        check_answers(own, earlier, newest)
        # Stored in the order of the prompt: a result follows its call.
        own = [own[place] for place in earlier] + [item for place, item in enumerate(own) if place not in earlier]
        chat = chat_request(body, own, range(len(earlier)))
        context = None
        if history is not None:
            kind = _Untruncated if body.truncation == "disabled" else ConversationContext
            param = "conversation" if body.conversation is not None else "previous_response_id"
            context = kind(
                self._sources,
                x.caller,
                route.assistant,
                history,
                chat,
                instructions=instructions,
                param=param,
                screen=screen,
            )
        response = self.response = ResponseObject(body, own, previous, route.assistant, self._queued, _prompt(x))
        first = self._queued.first_event if self._queued is not None else 0
        relay = ResponseRelay(response, first) if body.stream else None
        if relay is not None:
            x.error_frame = relay.failed
        # A tool's result is not a question.
        searches = not earlier or any(m.role == "user" for m in chat.messages)
        cites: CitationKind = "file_citation" if chat.knowledge is not None else "url_citation"
        return ParsedRequest(response.id, body, chat, context, response, relay, self.FIELDS, "input", searches, cites)

    async def searched(self, x: Exchange, documents: DocumentSearch, question: str, hits: Sequence[Hit]) -> None:
        """Adds a `file_search` call to the response."""
        if self.response is None:
            return
        attributes = {}
        if self.response.shows_results:
            tool = next(tool for tool in self.body.tools or () if isinstance(tool, FileSearchTool))
            attributes = await documents.attributes(x, tool.vector_store_ids, hits)
        self.response.searched(question, hits, attributes)

    async def _goes_on_from(
        self, x: Exchange, body: ResponseRequest, screen: HistoryChecker | None
    ) -> tuple[StoredResponse | None, History | None]:
        """Returns the previous response, and the conversation context; raises `ApiError`."""
        conversations, responses = self._sources.conversations, self._sources.responses
        try:
            if body.previous_response_id is not None:
                previous = await responses.get(x.caller, body.previous_response_id)
                if previous.unanswered:
                    raise invalid(
                        f"The response before has no answer: it is {previous.body['status']}.", "previous_response_id"
                    )
                return previous, ChainHistory(responses, conversations, x.caller, previous.id, screen)
            if (id := body.conversation_id) is not None:
                found = await conversations.get(x.caller, id)
                return None, ConversationHistory(conversations, x.caller, found.id, screen)
        except NotFound as e:
            raise predecessor_not_found(e) from None
        return None, None


def _prompt(x: Exchange) -> dict[str, Any] | None:
    return x.prompt.document() if x.prompt is not None else None


async def _newest(history: History) -> list[dict[str, Any]]:
    """Returns the messages of the newest turn."""
    async with aclosing(history.turns()) as turns:
        turn = await anext(turns, None)
    return turn.messages if turn is not None else []


class _Untruncated(ConversationContext):
    """Memory that includes all earlier turns or raises an error."""

    async def recall(self, endpoint: Endpoint, document: dict[str, Any]) -> None:
        await super().recall(endpoint, document)
        if left_out := self.report["left_out"]:
            raise invalid(
                f"{left_out} earlier turns do not fit into the model's context, and truncation is disabled.",
                "truncation",
                "context_length_exceeded",
            )
