"""Embeds the turns of a conversation, so that memory can search them."""

from __future__ import annotations

from serving.assistants import items, transcript
from serving.assistants.memory import similarity
from serving.assistants.memory.screen import HistoryScreen
from serving.config import Assistant, VectorMemory
from serving.core.principal import Principal
from serving.retrieval.client import RetrievalClient
from serving.store.jobs.queue import Json
from serving.store.jobs.worker import JobContext
from serving.store.turn_vectors import TurnVectors

AT_ONCE = 32
"""Turns that are embedded at once."""

ITEMS = 64
"""Maximum number of items that are read of a turn."""

EMBEDDED = 4000
"""Number of characters of a turn for the embedder, which reads its first 256 tokens."""


async def turn_text(
    vectors: TurnVectors, principal: Principal, id: str, turn: int, screen: HistoryScreen | None = None
) -> str:
    """Returns the text of a turn after its `screen`, one line per message; empty when it was deleted."""
    found = await vectors.items(principal, id, turn, limit=ITEMS)
    bodies = [await screen.quoted(i.id, i.body, i.checked) if screen is not None else i.body for i in found]
    return "\n".join(transcript.lines(items.messages(bodies)))


class Indexer:
    """Embeds turns without a current embedding: the newest one, and missed ones."""

    def __init__(self, vectors: TurnVectors, retrieval: RetrievalClient) -> None:
        self._vectors = vectors
        self._retrieval = retrieval

    async def index(self, context: JobContext, assistant: Assistant, kind: VectorMemory, id: str) -> Json:
        """Embeds turns and returns their number. Raises `RetrievalUnavailable`."""
        principal, embedder, done = context.principal, self._retrieval.embedder, 0
        while waiting := await self._vectors.waiting(principal, id, embedder, keep=kind.keep, limit=AT_ONCE):
            texts = [await turn_text(self._vectors, principal, id, turn.turn) for turn in waiting]
            embedded, _ = await self._retrieval.embed([text[:EMBEDDED] for text in texts])
            packed = dict(zip(waiting, map(similarity.pack, embedded), strict=True))
            await context.check()
            stored = await self._vectors.put(principal, id, assistant.name, embedder, packed, keep=kind.keep)
            if not stored:  # the conversation changed meanwhile: the job of its next turn continues
                break
            done += stored
        return {"embedded": done}
