"""What an assistant is shown again of a conversation, planned into the model's context window.

The window is a hard budget. First comes what the answer may need, then the assistant's prompt, the retrieved text and
the request; memory gets what is left. It holds whole turns, the newest without a gap. A note (what a program made of
earlier turns) comes before the turns, in the prompt and in the plan.
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
"""Turns that are read and counted together; after them twice as many at each step, so that counts are few."""

PAGE = 12
"""Items that are read first; after them twice as many at each step, up to what the store reads together."""

MAX_TURN = 512
"""Items of the longest turn that is remembered: one without an end must not be read to its end."""

ANSWER = 512
"""Tokens kept free for an answer when nobody says how long it may be."""

UNKNOWN_ROOM = 8192
"""Tokens of turns that wait for their summary, where nobody knows the context of the model."""

Fits = Callable[[list[Message], int], Awaitable[bool]]
"""Whether a prompt of these messages has at most so many tokens."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user said and all that followed, oldest first; `seq` is the number of its first item, if it has one.

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
    """Yields the turns of a conversation, the newest first, and reads no more of it than is asked for.

    With `before`, only items with a number below it. `page` are its PAGE newest items where they were read already.
    With a `screen`, a turn is what that leaves of it.
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
    """Yields the newest turns, as far as they begin after the item numbered `seq`."""
    async for turn in turns:
        if turn.seq is not None and turn.seq <= seq:
            return
        yield turn


async def _turn(newest_first: Sequence[Item], screen: HistoryScreen | None) -> Turn:
    ordered = newest_first[::-1]
    bodies = [await screen.item(i.id, i.body, i.checked) if screen is not None else i.body for i in ordered]
    return Turn(items.messages(bodies), ordered[0].seq, tuple(i.id for i in ordered))


def room(context: int | None, max_tokens: int | None) -> int | None:
    """Returns the tokens that a prompt may have in a window of `context`; None when that is not known."""
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
    """Returns the turns, oldest first, that stand between `before` and `after` in the prompt.

    `turns` come newest first; `room` is what the whole prompt may have, in tokens. Nothing is recalled when the
    prompt without memory does not fit. A memory that summarises shows all the turns that it is given: they are those
    which no summary covers yet.
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
        low, high = len(kept), len(tried)  # so many fit, so many do not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await fit(tried[:middle]) else (low, middle)
        kept = tried[:low]
        break
    return kept[::-1]


def flat(turns: Sequence[Turn]) -> list[Message]:
    """Returns the messages of `turns`, one after the other."""
    return [message for turn in turns for message in turn.messages]
