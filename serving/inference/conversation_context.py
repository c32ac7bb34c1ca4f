"""The conversation context of a request: earlier turns in its prompt, and the new turn to store.

A turn is stored in one transaction, after the engine's last token and before the caller gets the end. If a stream was
stopped or broke off, the question and the text that the caller may have seen are stored as incomplete; if there is no
such text, neither is stored, so that a repeated question is stored once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from serving.assistants import items, transcript
from serving.assistants.items import Message
from serving.assistants.memory import window
from serving.assistants.memory.history import ConversationHistory, History, ReadOnce
from serving.assistants.memory.retriever import MemoryRetriever, PlannedPrompt, RetrievedMemory
from serving.assistants.memory.window import Turn
from serving.assistants.small_talk import is_small_talk
from serving.config import Assistant, FactsMemory, Instructions, TokenWindowMemory, VectorMemory
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.engines.client import EngineClient
from serving.engines.endpoint import Endpoint
from serving.engines.token_counter import TokenCounter, other_parts
from serving.guardrails.history import HistoryChecker
from serving.inference.files.attached_files import MAX_FILES, AttachedFiles, FilesShownAgain
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import ApiError, invalid, no_instructions, upstream
from serving.security.audit import AuditLog
from serving.store.conversations import PREFIXES, Body, Conversations
from serving.store.errors import NotFound
from serving.store.responses import Responses

BROKEN_OFF = "incomplete"
"""The finish reason of an answer that was stopped or broke off."""

INCOMPLETE = ("length", "content_filter", BROKEN_OFF)

TURNS_WITH_FILES = 32
"""Number of newest turns that are searched for files."""

LOOKED_BACK = 3
"""Number of newest turns that are searched for the previous question."""


@dataclass(frozen=True, slots=True)
class ContextSources:
    """The stores of earlier turns, and the client that counts tokens."""

    conversations: Conversations
    responses: Responses
    retriever: MemoryRetriever
    client: EngineClient
    audit: AuditLog
    attached: AttachedFiles


class ConversationContext:
    """The part of `history` that is in the prompt; `param` is the request's field that names the history.

    `report` has the numbers of earlier turns in the prompt and omitted, `noted` tells whether the prompt has notes such
    as a summary. A model without `assistant` has an assistant's default memory. `screen` checks `history`.
    """

    def __init__(
        self,
        sources: ContextSources,
        caller: Principal,
        assistant: Assistant | None,
        history: History,
        body: ChatRequest,
        *,
        instructions: Instructions,
        param: str = "conversation",
        screen: HistoryChecker | None = None,
    ) -> None:
        self._history = ReadOnce(history)
        self._screen = screen
        self._files = FilesShownAgain(sources.attached)
        self._sources = sources
        self._caller = caller
        self._assistant = assistant.name if assistant is not None else ""
        self._memory = assistant.memory if assistant is not None else TokenWindowMemory()
        self._question = next((m.text() for m in reversed(body.messages) if m.role == "user"), "")
        self._param = param
        self._instructions = instructions
        self.report: dict[str, int] = {"turns": 0, "left_out": 0}
        self.noted = False

    def answer_fields(self, text: str) -> dict[str, Any]:
        """Returns what the caller is told beside an answer with this text."""
        return {"memory": self.report}

    @property
    def recalls_others(self) -> bool:
        """Whether the prompt has notes from other conversations, once memory is in it."""
        memory = self._memory
        others = isinstance(memory, FactsMemory) or (isinstance(memory, VectorMemory) and memory.scope == "principal")
        return self.noted and others

    @property
    def of_conversation(self) -> str | None:
        """The id of the conversation whose history it is, if it is a conversation's."""
        return self._history.conversation

    async def recall(self, endpoint: Endpoint, document: dict[str, Any]) -> None:
        """Adds to the prompt of `document` what memory recalls of the history and fits into the engine's context.

        Instructions stay first: most chat templates accept them only there. A request that begins with a tool's result
        continues the newest turn, which is therefore included. Raises `ApiError` if the caller has no such
        conversation, which shows when its turns are read, and if a guardrail blocks an earlier message.
        """
        prompt: list[Message] = document["messages"]
        instructions = next((i for i, m in enumerate(prompt) if m["role"] != "system"), len(prompt))
        before, after = prompt[:instructions], prompt[instructions:]
        tokens = TokenCounter(self._sources.client, endpoint, document.get("tools"))
        room = window.room(await tokens.window(), document.get("max_tokens"))
        going_on = []
        with _missing_as_404():
            async with aclosing(self._history.turns()) as turns:
                if after and after[0]["role"] == "tool" and (newest := await anext(turns, None)) is not None:
                    newest = await self._readable_turn(newest)
                    going_on = [newest]
                    after = [*newest.messages, *after]
                planned = PlannedPrompt(before, after, room, tokens.fit, self._question, self._screen)
                id, kind = self._history.conversation, self._memory
                readable = self._readable(turns)
                found = await self._sources.retriever.recall(self._caller, id, self._assistant, kind, readable, planned)
        # Turns that memory retrieved still contain their files.
        turns_found = [await self._readable_turn(turn) for turn in found.turns]
        found = replace(found, turns=turns_found, notes=[await self._files.message(note) for note in found.notes])
        self.noted = bool(found.notes)
        document["messages"] = [*before, *found.notes, *items.paired(window.flat(found.turns)), *after]
        shown = [*found.turns, *going_on]
        self._refuse(shown)
        if endpoint.text_only and any(map(other_parts, window.flat(shown))):
            raise invalid("This model takes text only.", self._param, "unsupported_content")
        await self.count(shown, found)

    async def _readable(self, turns: AsyncIterator[Turn]) -> AsyncIterator[Turn]:
        async for turn in turns:
            yield await self._readable_turn(turn)

    async def _readable_turn(self, turn: Turn) -> Turn:
        """Returns a turn in which files are replaced by their text."""
        return replace(turn, messages=[await self._files.message(m) for m in turn.messages])

    def _refuse(self, shown: Sequence[Turn]) -> None:
        refused = (
            self._screen.report_shown(id for turn in shown for id in turn.ids) if self._screen is not None else None
        )
        if refused is None:
            if self._instructions == "refuse" and any(m["role"] == "system" for m in window.flat(shown)):
                raise no_instructions(self._param)
            return
        id, name, kind = refused
        self._sources.audit.count("guardrail.block", name, self._caller.tenant)
        message = f"A guardrail blocks an earlier message: {name} ({kind}) in the item {id}."
        raise invalid(message, self._param, "content_filter")

    async def asked_before(self) -> str:
        """Returns the user's previous question in the history; empty if the newest turns have none."""
        with _missing_as_404():
            async with aclosing(self._history.turns()) as turns:
                looked_at = 0
                async for turn in turns:
                    said = (transcript.text(m).strip() for m in reversed(turn.messages) if m["role"] == "user")
                    if asked := next((text for text in said if text and not is_small_talk(text)), ""):
                        return asked
                    looked_at += 1
                    if looked_at == LOOKED_BACK:
                        break
        return ""

    async def attached(self) -> list[Mapping[str, Any]]:
        """Returns the files of the newest turns, newest first, each once."""
        found: dict[str, Mapping[str, Any]] = {}
        with _missing_as_404():
            async with aclosing(self._history.turns()) as turns:
                looked_at = 0
                async for turn in turns:
                    said = (m["content"] for m in reversed(turn.messages) if isinstance(m.get("content"), list))
                    for file in (part["file"] for content in said for part in content if part["type"] == "file"):
                        found.setdefault(file.get("file_id") or file.get("file_data") or "", file)
                    looked_at += 1
                    if looked_at == TURNS_WITH_FILES or len(found) >= MAX_FILES:
                        break
        return list(found.values())

    def show_files(self, texts: Mapping[str, str]) -> None:
        """Sets what replaces the files of earlier turns, by their digest."""
        self._files.show(texts)

    async def count(self, shown: Sequence[Turn] = (), found: RetrievedMemory | None = None) -> None:
        """Fills `report`; `shown` are the newest turns, and `found` is what memory recalled. Raises as `recall`."""
        found = found or RetrievedMemory([])
        with _missing_as_404():
            left_out = await self._history.left_out(shown)
        self.report = {"turns": len(shown), "left_out": max(left_out - found.covered, 0), **found.counts}


class ChatTurn(ConversationContext):
    """A chat completion's turn of `conversation`."""

    def __init__(
        self,
        sources: ContextSources,
        caller: Principal,
        assistant: Assistant | None,
        body: ChatRequest,
        *,
        instructions: Instructions,
        screen: HistoryChecker | None = None,
    ) -> None:
        given = body.conversation
        self.conversation = given if isinstance(given, str) else given.id if given is not None else ""
        history = ConversationHistory(sources.conversations, caller, self.conversation, screen)
        super().__init__(sources, caller, assistant, history, body, instructions=instructions, screen=screen)
        said = items.bodies(message.model_dump(exclude_none=True) for message in body.messages)
        # Their ids are known before they are stored: the end of a stream names them, and is made before.
        self._said = [{"id": new_id(PREFIXES[item["type"]]), **item} for item in said]
        self._answer_id = new_id(PREFIXES["message"])

    def answer_fields(self, text: str) -> dict[str, Any]:
        """Like that of any context, with the ids of what is stored; those of calls alone are not known yet."""
        ids = [str(item["id"]) for item in self._said] + ([self._answer_id] if text else [])
        return {**super().answer_fields(text), "conversation": self.conversation, "items": ids}

    def items(self, choice: dict[str, Any], details: Body | None = None) -> tuple[str, Sequence[Body]]:
        """Returns the items to store for question and answer, with the conversation; raises `ApiError`.

        `details` are of the answer's first item.
        """
        status = "incomplete" if choice.get("finish_reason") in INCOMPLETE else "completed"
        try:
            first, *more = items.bodies([{**choice["message"], "role": "assistant"}], status=status)
        except (AttributeError, LookupError, TypeError, ValueError):
            raise upstream("The model's answer is not a chat message.") from None
        if first["type"] == "message":
            first = {"id": self._answer_id, **first}
        return self.conversation, [*self._said, first | {"details": details}, *more]


@contextmanager
def _missing_as_404() -> Iterator[None]:
    try:
        yield
    except NotFound as e:
        raise predecessor_not_found(e) from None


def predecessor_not_found(error: NotFound) -> ApiError:
    """The error when the object that a request continues does not exist, or belongs to another tenant."""
    param = "previous_response_id" if error.kind == "response" else error.kind
    return ApiError("not_found", f"There is no such {error.kind}.", param=param)
