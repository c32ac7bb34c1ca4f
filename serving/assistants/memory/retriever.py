"""Retrieves memory of each kind for a prompt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from serving.assistants.items import Message
from serving.assistants.memory import facts, similarity, summary, window
from serving.assistants.memory.indexer import EMBEDDED, turn_text
from serving.assistants.memory.screen import HistoryScreen
from serving.assistants.memory.window import Fits, Turn
from serving.config import FactsMemory, Memory, SummaryMemory, SummaryWindowMemory, VectorMemory
from serving.core.principal import Principal
from serving.retrieval.client import RetrievalClient, RetrievalUnavailable
from serving.store.conversations import Conversations
from serving.store.memories import Memories
from serving.store.summaries import Summaries
from serving.store.turn_vectors import TurnVector, TurnVectors

log = logging.getLogger("headrace.memory")

MAX_VECTORS = 5000
"""Maximum number of embeddings that are compared with a question: the user's newest."""

MAX_FACTS = 2000
"""Maximum number of facts that are read, more than a profile can have."""

FIRST_FACTS = 32
"""Number of facts that are screened and counted first; it doubles in each step, so that few are screened in vain."""


@dataclass(frozen=True, slots=True)
class PlannedPrompt:
    """A prompt being composed: memory is placed between `before` and `after`; `room` is the limit of all tokens.

    `question` is the user's current message, empty when the request has none. `screen` checks stored texts before they
    are in the prompt.
    """

    before: list[Message]
    after: list[Message]
    room: int | None
    fits: Fits
    question: str = ""
    screen: HistoryScreen | None = None

    async def checked(self, text: str) -> str:
        """Returns the part of a stored text that may be in the prompt; empty if none may."""
        return await self.screen.note(text) if self.screen is not None else text

    async def holds(self, messages: list[Message]) -> bool:
        """Returns whether the prompt has room for `messages` too."""
        return self.room is None or await self.fits([*self.before, *messages, *self.after], self.room)


@dataclass(frozen=True, slots=True)
class RetrievedMemory:
    """Notes for the prompt before `turns`; `covered` is the number of turns that are only in the notes."""

    turns: list[Turn]
    notes: list[Message] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    covered: int = 0


class MemoryRetriever:
    """Retrieves stored memory."""

    def __init__(
        self,
        conversations: Conversations,
        summaries: Summaries,
        memories: Memories,
        vectors: TurnVectors,
        retrieval: RetrievalClient,
    ) -> None:
        self._vectors = vectors
        self._retrieval = retrieval
        self._conversations = conversations
        self._summaries = summaries
        self._memories = memories

    async def recall(
        self,
        caller: Principal,
        id: str | None,
        assistant: str,
        kind: Memory,
        turns: AsyncIterator[Turn],
        prompt: PlannedPrompt,
    ) -> RetrievedMemory:
        """Returns the memory of the conversation `id`, whose `turns` are newest first, that fits into the prompt.

        `assistant` is the name of the assistant with memory of this `kind`. Turns without a conversation (None) have no
        summary and no embeddings, and are included verbatim.
        """
        if isinstance(kind, VectorMemory):
            return await self._alike(caller, id, assistant, kind, turns, prompt)
        if isinstance(kind, SummaryMemory | SummaryWindowMemory):
            return await self._summarised(caller, id, kind, turns, prompt)
        if isinstance(kind, FactsMemory):
            return await self._known(caller, assistant, kind, turns, prompt)
        return RetrievedMemory(await _turns(kind, turns, prompt, []))

    async def _known(
        self, caller: Principal, assistant: str, kind: FactsMemory, turns: AsyncIterator[Turn], prompt: PlannedPrompt
    ) -> RetrievedMemory:
        profile = await self._memories.profile(caller, assistant, limit=MAX_FACTS)
        unread, count = iter(profile), 0  # this many texts are known to fit
        texts: list[str] = []

        async def fit(count: int) -> bool:
            note = [facts.note(texts[:count])]
            return await prompt.fits(note, kind.tokens) and await prompt.holds(note)

        while True:
            size = max(FIRST_FACTS, 2 * count)
            while len(texts) < size and (fact := next(unread, None)) is not None:
                if text := await prompt.checked(fact.text):
                    texts.append(text)
            if len(texts) == count:
                break
            if not await fit(len(texts)):
                count = await _between(count, len(texts), fit)
                break
            count = len(texts)
        note = [facts.note(texts[:count])] if count else []
        return RetrievedMemory(await _turns(kind, turns, prompt, note), note, {"facts": count})

    async def _alike(
        self,
        caller: Principal,
        id: str | None,
        assistant: str,
        kind: VectorMemory,
        turns: AsyncIterator[Turn],
        prompt: PlannedPrompt,
    ) -> RetrievedMemory:
        kept = await _turns(kind, turns, prompt, [])
        shown = kept[0].seq if kept else None
        found = await self._similar_turns(caller, id, assistant, kind, shown, prompt.question)
        texts = [await turn_text(self._vectors, caller, v.conversation_id, v.turn, prompt.screen) for v in found]
        there = [(v, text) for v, text in zip(found, texts, strict=True) if text]
        rest = replace(prompt, after=[*window.flat(kept), *prompt.after])

        def noted(count: int) -> list[Message]:
            """Returns the best `count`, in the order of the conversation."""
            ordered = sorted(there[:count], key=lambda pair: (pair[0].conversation_id != id, pair[0].turn))
            return [similarity.note([text for _, text in ordered])] if count else []

        async def fit(count: int) -> bool:
            return await prompt.fits(noted(count), kind.tokens) and await rest.holds(noted(count))

        count = await _most(len(there), fit)
        covered = sum(v.conversation_id == id for v, _ in there[:count])
        return RetrievedMemory(kept, noted(count), {"recalled": count}, covered)

    async def _similar_turns(
        self, caller: Principal, id: str | None, assistant: str, kind: VectorMemory, shown: int | None, question: str
    ) -> list[TurnVector]:
        """Returns past turns that are similar to the question, best first; none when retrieval does not answer."""
        embedder = self._retrieval.embedder
        if not question.strip():
            return []
        if kind.scope == "principal":
            past = await self._vectors.of_user(caller, assistant, embedder, limit=MAX_VECTORS)
        elif id is not None:
            past = await self._vectors.of_conversation(caller, id, embedder, limit=kind.keep)
        else:
            return []
        past = [v for v in past if v.conversation_id != id or shown is None or v.last_seq < shown]
        if not past:
            return []
        try:
            embedded, _ = await self._retrieval.embed([question[:EMBEDDED]])
        except RetrievalUnavailable as e:
            log.warning("no similar turns are recalled: %s", e)
            return []
        vectors = [v.vector for v in past]
        # In a thread: it takes a few milliseconds, during which other streams would wait.
        best = await asyncio.to_thread(similarity.best, embedded[0], vectors, count=kind.top_k, least=kind.min_score)
        return [past[i] for i in best]

    async def _summarised(
        self, caller: Principal, id: str | None, kind: Memory, turns: AsyncIterator[Turn], prompt: PlannedPrompt
    ) -> RetrievedMemory:
        found = await self._summaries.get(caller, id) if id is not None else None
        text = await prompt.checked(found.text) if found is not None else ""
        note = [summary.note(text)]
        if id is None or found is None or not text or not await prompt.holds(note):
            return RetrievedMemory(await _turns(kind, turns, prompt, []), counts={"summarized": 0})
        kept = await _turns(kind, window.since(turns, found.last_seq), prompt, note)
        covered = await self._conversations.count_turns(caller, id, before=found.last_seq + 1)
        return RetrievedMemory(kept, note, {"summarized": covered}, covered)


async def _most(count: int, fit: Callable[[int], Awaitable[bool]]) -> int:
    """Returns the largest number up to `count` that fits; 0 always does."""
    if count == 0 or await fit(count):
        return count
    return await _between(0, count, fit)


async def _between(low: int, high: int, fit: Callable[[int], Awaitable[bool]]) -> int:
    """As `_most`, where `low` is known to fit and `high` not to."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await fit(middle) else (low, middle)
    return low


async def _turns(kind: Memory, turns: AsyncIterator[Turn], prompt: PlannedPrompt, notes: list[Message]) -> list[Turn]:
    before = [*prompt.before, *notes]
    return await window.recall(kind, turns, before=before, after=prompt.after, room=prompt.room, fits=prompt.fits)
