"""Selects the turns of a conversation that fit into the model's context window.

The window is a hard limit. The tokens for the answer are reserved first, then those of the assistant's prompt, the
retrieved text and the request; memory gets the rest. It consists of whole, consecutive turns up to the newest. A note
(text generated from earlier turns) precedes the turns, in the prompt and in priority.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from serving.assistants import items
from serving.assistants.items import Message
from serving.assistants.memory.screen import HistoryScreen
from serving.config import (
    BufferMemory,
    FactsMemory,
    Memory,
    NoMemory,
    SummaryMemory,
    SummaryWindowMemory,
    TokenWindowMemory,
    VectorMemory,
)
from serving.core.principal import Principal
from serving.store.conversations import MAX_PAGE, Conversations, Item

FIRST = 4
"""Number of turns that are read and counted first; it doubles in each step, so that counts are few."""

PAGE = 12
"""Number of items that are read first; it doubles in each step, up to the store's page size."""

MAX_TURN = 512
"""Maximum number of items of a recalled turn: an endless turn must not be read to its end."""

ANSWER = 512
"""Number of tokens reserved for an answer when no limit is set."""

UNKNOWN_ROOM = 8192
"""Number of tokens of turns without a summary, if the model's context is unknown."""

Fits = Callable[[list[Message], int], Awaitable[bool]]
"""Whether a prompt of these messages has at most so many tokens."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A user's message and all that followed it, oldest first; `seq` is the number of its first item, if it has one.

    `ids` are those of its items.
    """

    messages: list[Message]
    seq: int | None = None
    ids: tuple[str, ...] = ()


async def newest_turns(
    conversations: Conversations,
    principal: Principal,
    id: str,
    *,
    before: int | None = None,
    page: Sequence[Item] | None = None,
    screen: HistoryScreen | None = None,
) -> AsyncGenerator[Turn, None]:
    """Yields the turns of a conversation, newest first, and reads only as many as are needed.

    With `before`, only items with a lower number. `page` are its PAGE newest items if they were read already. With a
    `screen`, turns are screened.
    """
    turn: list[Item] = []  # newest first
    limit = PAGE
    while len(turn) <= MAX_TURN:
        if page is None:
            page = await conversations.last(principal, id, before=before, limit=limit)
        for item in page:
            if turn and item.turn != turn[-1].turn:
                yield await _turn(turn, screen)
                turn = []
            turn.append(item)
        if len(page) < limit:
            break
        before, limit, page = page[-1].seq, min(2 * limit, MAX_PAGE), None
    if 0 < len(turn) <= MAX_TURN:
        yield await _turn(turn, screen)


async def since(turns: AsyncIterator[Turn], seq: int) -> AsyncIterator[Turn]:
    """Yields the newest turns that begin after the item numbered `seq`."""
    async for turn in turns:
        if turn.seq is not None and turn.seq <= seq:
            return
        yield turn


async def _turn(newest_first: Sequence[Item], screen: HistoryScreen | None) -> Turn:
    ordered = newest_first[::-1]
    bodies = [await screen.item(i.id, i.body, i.checked) if screen is not None else i.body for i in ordered]
    return Turn(items.messages(bodies), ordered[0].seq, tuple(i.id for i in ordered))


def room(context: int | None, max_tokens: int | None) -> int | None:
    """Returns the number of tokens of a prompt for a window of `context`; None when that is unknown."""
    if context is None:
        return None
    return max(context - (max_tokens or min(ANSWER, context // 4)), 0)


async def recall(
    memory: Memory,
    turns: AsyncIterator[Turn],
    *,
    before: list[Message],
    after: list[Message],
    room: int | None,
    fits: Fits,
) -> list[Turn]:
    """Returns the turns, oldest first, for the prompt between `before` and `after`.

    `turns` are newest first; `room` is the limit for the whole prompt, in tokens. Nothing is recalled when the prompt
    without memory does not fit. Memory with summaries includes all given turns, which are those that no summary covers
    yet.
    """
    if isinstance(memory, NoMemory):
        return []
    most = memory.turns if isinstance(memory, BufferMemory | FactsMemory | VectorMemory) else None
    tokens = memory.tokens if isinstance(memory, TokenWindowMemory) else None
    if room is None and isinstance(memory, SummaryMemory | SummaryWindowMemory):
        tokens = UNKNOWN_ROOM

    async def fit(recalled: Sequence[Turn]) -> bool:
        messages = flat(recalled[::-1])
        if tokens is not None and not await fits(messages, tokens):
            return False
        return room is None or await fits([*before, *messages, *after], room)

    kept: list[Turn] = []  # newest first, known to fit
    while True:
        size = max(FIRST, 2 * len(kept))
        tried = list(kept)
        while len(tried) < (size if most is None else min(size, most)):
            turn = await anext(turns, None)
            if turn is None:
                break
            tried.append(turn)
        if len(tried) == len(kept):
            break
        if await fit(tried):
            kept = tried
            continue
        low, high = len(kept), len(tried)  # lower fits, upper does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await fit(tried[:middle]) else (low, middle)
        kept = tried[:low]
        break
    return kept[::-1]


def flat(turns: Sequence[Turn]) -> list[Message]:
    """Returns the messages of `turns` in one list."""
    return [message for turn in turns for message in turn.messages]
