"""Folds what left the window of a conversation into its summary."""

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
"""Items that are read, and at most folded, together."""

BATCH_TOKENS = 4096
"""Tokens of the longest prompt that asks for a summary: a CPU reads so many within a minute."""

SHORTEST = 64
"""Characters to which a line may be cut before the old summary is."""


class Summariser:
    """Makes summaries. Each step is stored, so that a job which runs again goes on where it was."""

    def __init__(self, conversations: Conversations, summaries: Summaries) -> None:
        self._conversations = conversations
        self._summaries = summaries

    async def edge(self, context: JobContext, assistant: Assistant, id: str, answering: HelperModel) -> int:
        """Returns the number of the first item that a prompt still has room for, as the assistant's model counts.

        The next request is not known yet: a quarter of the context is kept free for it. Raises `NotFound`.
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
        """Folds the oldest items before `edge` that no summary covers; returns whether there were any.

        The model reads what `screen` leaves of them. Raises `ApiError` when the model fails: the old summary stays.
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
        # Nothing is stored when another summary came first or an item went: the next step sees what there is.
        await self._summaries.put(context.principal, old, left[:count], text)
        return True

    async def behind(self, context: JobContext, id: str, edge: int) -> bool:
        """Whether there are items before `edge` that no summary covers."""
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
    """Returns how many items the request takes, and the request: whole turns, unless the first is too long."""
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
        elif old:  # a model with a larger context, or none that kept to its bound, wrote it
            old = old[: len(old) // 2]
        else:
            raise PermanentError("context_too_small", "the model's context holds no request for a summary")


def _whole_turns(left: Sequence[Item], count: int) -> int:
    """Returns `count`, or less where that ends a turn."""
    return next((n for n in range(count, 0, -1) if left[n - 1].turn != left[n].turn), count)
