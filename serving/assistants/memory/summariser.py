"""Updates a conversation's summary with the turns that no longer fit into its window."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from serving.assistants import items, prompt, transcript
from serving.assistants.items import Message
from serving.assistants.memory import summary, window
from serving.assistants.memory.helper_model import HelperModel
from serving.assistants.memory.screen import HistoryScreen
from serving.config import Assistant, BufferMemory, SummaryMemory, SummaryWindowMemory, TokenWindowMemory
from serving.protocol.errors import upstream
from serving.store.conversations import Conversations, Item
from serving.store.jobs.worker import JobContext, PermanentError
from serving.store.summaries import Summaries, Summary

PAGE = 64
"""Maximum number of items that are read and summarised at once."""

BATCH_TOKENS = 4096
"""Maximum number of tokens of a prompt for a summary, which a CPU reads within a minute."""

SHORTEST = 64
"""Length in characters to which a line may be truncated before the old summary is."""


class Summariser:
    """Writes summaries. Each step is stored, so that a repeated job continues where it stopped."""

    def __init__(self, conversations: Conversations, summaries: Summaries) -> None:
        self._conversations = conversations
        self._summaries = summaries

    async def edge(self, context: JobContext, assistant: Assistant, id: str, answering: HelperModel) -> int:
        """Returns the number of the first item that still fits into a prompt, as the assistant's model counts tokens.

        A quarter of the context is reserved for the next request. Raises `NotFound`.
        """
        kind = assistant.memory
        shown_kind = (
            TokenWindowMemory(tokens=kind.tokens) if isinstance(kind, SummaryWindowMemory) else BufferMemory(turns=1)
        )
        before = prompt.messages(assistant, (), [])
        room = window.room(answering.window, assistant.max_tokens) or 0
        room = max(room - answering.window // 4 - (assistant.context_tokens if assistant.knowledge else 0), 0)
        if found := await self._summaries.get(context.principal, id):
            shown = [*before, summary.note(found.text)]
            before = shown if await answering.tokens.fit(shown, room) else before
        last = (await self._conversations.get(context.principal, id)).last_seq
        async with aclosing(window.newest_turns(self._conversations, context.principal, id)) as turns:
            kept = await window.recall(shown_kind, turns, before=before, after=[], room=room, fits=answering.tokens.fit)
        oldest = kept[0].seq if kept else None
        return oldest if oldest is not None else last + 1

    async def fold(
        self,
        context: JobContext,
        kind: SummaryMemory | SummaryWindowMemory,
        id: str,
        edge: int,
        model: HelperModel,
        screen: HistoryScreen | None,
    ) -> bool:
        """Summarises the oldest items before `edge` that no summary covers; returns whether there were any.

        The model reads them after the `screen`. Raises `ApiError` when the model fails: the old summary stays.
        """
        old = await self._summaries.get(context.principal, id)
        left = await self._left(context, id, old, edge)
        if not left:
            return False
        most = min(kind.summary_tokens, model.window // 4)
        count, request = await _batch(old.text if old is not None else "", await _screened(left, screen), most, model)
        text = await model.ask(request, most)
        if not text:
            raise upstream("The model's summary is empty.")
        await context.check()
        # Nothing is stored when another summary was stored first or an item was deleted: the next step reads the new
        # state.
        await self._summaries.put(context.principal, old, left[:count], text)
        return True

    async def behind(self, context: JobContext, id: str, edge: int) -> bool:
        """Returns whether there are items before `edge` that no summary covers."""
        return bool(await self._left(context, id, await self._summaries.get(context.principal, id), edge))

    async def _left(self, context: JobContext, id: str, old: Summary | None, edge: int) -> list[Item]:
        after = old.last_seq if old is not None else 0
        found = await self._conversations.following(context.principal, id, after=after, limit=PAGE)
        return [item for item in found if item.seq < edge]


async def _screened(left: Sequence[Item], screen: HistoryScreen | None) -> Sequence[Item]:
    if screen is None:
        return left
    return [replace(i, body=dict(await screen.quoted(i.id, i.body, i.checked))) for i in left]


async def _batch(old: str, left: Sequence[Item], most: int, model: HelperModel) -> tuple[int, list[Message]]:
    """Returns the request and the number of items in it: whole turns, unless the first is too long."""
    room = min(model.window - most, BATCH_TOKENS)
    count, longest = len(left), transcript.MAX_CHARACTERS
    while True:
        said = transcript.lines(items.messages(item.body for item in left[:count]))
        request = summary.request(old, [transcript.cut(line, longest) for line in said], most)
        if await model.tokens.fit(request, room):
            return count, request
        if count > 1:
            count = _whole_turns(left, count // 2)
        elif longest > SHORTEST:
            longest //= 2
        elif old:  # written by a model with a larger context, or one that ignored the limit
            old = old[: len(old) // 2]
        else:
            raise PermanentError("context_too_small", "the model's context is too small for a request for a summary")


def _whole_turns(left: Sequence[Item], count: int) -> int:
    """Returns `count`, or a smaller number that ends a turn."""
    return next((n for n in range(count, 0, -1) if left[n - 1].turn != left[n].turn), count)
