"""Extracts facts about the user from a stored turn."""

from __future__ import annotations

from serving.assistants import items, transcript
from serving.assistants.items import Message
from serving.assistants.memory import facts
from serving.assistants.memory.helper_model import HelperModel
from serving.config import Assistant, FactsMemory
from serving.store.conversations import MAX_PAGE, Conversations
from serving.store.jobs.queue import Json
from serving.store.jobs.worker import JobContext, PermanentError
from serving.store.memories import MAX_TEXT, Memories
from serving.telemetry import metrics

MAX_TOKENS = 512
"""Maximum number of tokens of an answer."""

KNOWN = 30
"""Number of known facts that the model gets, so that it does not extract them again."""

SHORTEST = 64
"""Length in characters to which a line may be truncated."""


class Extractor:
    """Adds facts to profiles."""

    def __init__(self, conversations: Conversations, memories: Memories) -> None:
        self._conversations = conversations
        self._memories = memories

    async def extract(self, context: JobContext, assistant: Assistant, kind: FactsMemory, model: HelperModel) -> Json:
        """Adds what the items in the job's payload tell about the user. Raises `ApiError` when the model fails."""
        id, first, last = (context.job.payload[name] for name in ("conversation_id", "first", "last"))
        found = await self._conversations.following(context.principal, id, after=first - 1, limit=MAX_PAGE)
        said = transcript.lines(items.messages(item.body for item in found if item.seq <= last))
        if not said:
            return {"found": 0, "new": 0, "dropped": 0}
        known = await self._memories.profile(context.principal, assistant.name, limit=KNOWN)
        answer = min(MAX_TOKENS, model.window // 4)
        request = await _request([fact.text for fact in known], said, model, model.window - answer)
        texts = facts.parse(await model.ask(request, answer, facts.SCHEMA), MAX_TEXT)
        if texts is None:
            metrics.memory_dropped.inc()
            return {"found": 0, "new": 0, "dropped": 1}
        await context.check()
        new = await self._memories.add_found(context.principal, assistant.name, texts, id, most=kind.limit)
        return {"found": len(texts), "new": new, "dropped": 0}


async def _request(known: list[str], said: list[str], model: HelperModel, room: int) -> list[Message]:
    longest = transcript.MAX_CHARACTERS
    while True:
        request = facts.request(known, [transcript.cut(line, longest) for line in said])
        if await model.tokens.fit(request, room):
            return request
        if known:
            known = known[: len(known) // 2]
        elif longest > SHORTEST:
            longest //= 2
        elif len(said) > 1:
            said = said[: len(said) // 2]
        else:
            raise PermanentError("context_too_small", "the model's context is too small for a request for facts")
