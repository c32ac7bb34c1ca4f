"""Finds facts about the user in a turn that was stored."""

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
"""Tokens of an answer."""

KNOWN = 30
"""Facts that the model is told, so that it does not find them again."""

SHORTEST = 64
"""Characters to which a line may be cut."""


class Extractor:
    """Fills profiles."""

    def __init__(self, conversations: Conversations, memories: Memories) -> None:
        self._conversations = conversations
        self._memories = memories

    async def extract(self, context: JobContext, assistant: Assistant, kind: FactsMemory, model: HelperModel) -> Json:
        """Adds what the items of the job's payload say about the user. Raises `ApiError` when the model fails."""
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
            raise PermanentError("context_too_small", "the model's context holds no request for facts")
