"""The history that a request continues: a conversation, or a chain of responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from serving.assistants import items
from serving.assistants.items import Message
from serving.assistants.memory.screen import HistoryScreen
from serving.assistants.memory.window import MAX_TURN, PAGE, Turn, newest_turns
from serving.core.principal import Principal
from serving.store.conversations import Body, Conversations, Item
from serving.store.responses import MAX_CHAIN, Responses, StoredResponse, split

RESPONSES = 8
"""Number of responses of a chain that are read at once."""


class History(Protocol):
    """Earlier turns for a prompt."""

    @property
    def conversation(self) -> str | None:
        """The conversation of all turns, or None."""
        ...

    def turns(self) -> AsyncGenerator[Turn, None]:
        """Yields the turns, newest first, and reads only as many as are needed."""
        ...

    async def left_out(self, shown: Sequence[Turn]) -> int:
        """Returns the number of turns before `shown`, which are the newest."""
        ...


class ReadOnce:
    """A history whose turns are read once for one request, however often it looks through them, one look at a time."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._seen: list[Turn] = []
        self._rest: AsyncGenerator[Turn, None] | None = None
        self.conversation = history.conversation

    async def turns(self) -> AsyncGenerator[Turn, None]:
        """Yields the turns, newest first."""
        for turn in self._seen:
            yield turn
        self._rest = self._rest or self._history.turns()
        async for turn in self._rest:
            self._seen.append(turn)
            yield turn

    async def left_out(self, shown: Sequence[Turn]) -> int:
        """Returns the number of turns before `shown`."""
        return await self._history.left_out(shown)


class ConversationHistory:
    """The turns of a conversation, after its `screen`; raises `NotFound` if the caller has no such conversation."""

    def __init__(
        self, conversations: Conversations, principal: Principal, id: str, screen: HistoryScreen | None = None
    ) -> None:
        self.conversation = id
        self._conversations = conversations
        self._principal = principal
        self._screen = screen
        self._count: int | None = None  # number of its turns, once it was read

    async def turns(self) -> AsyncGenerator[Turn, None]:
        """Yields the turns, newest first."""
        page = await self._newest(PAGE)
        found = newest_turns(self._conversations, self._principal, self.conversation, page=page, screen=self._screen)
        async with aclosing(found) as turns:
            async for turn in turns:
                yield turn

    async def left_out(self, shown: Sequence[Turn]) -> int:
        """Returns the number of turns before `shown`."""
        if self._count is None:
            await self._newest(1)
        return max((self._count or 0) - len(shown), 0)

    async def _newest(self, limit: int) -> list[Item]:
        newest = await self._conversations.newest(self._principal, self.conversation, limit=limit)
        self._count = newest.turns
        return newest.items


class ChainHistory:
    """The turns of a response and its predecessors, back to the conversation of the first one."""

    conversation = None

    def __init__(
        self,
        responses: Responses,
        conversations: Conversations,
        principal: Principal,
        id: str,
        screen: HistoryScreen | None = None,
    ) -> None:
        self._responses = responses
        self._conversations = conversations
        self._principal = principal
        self._id = id
        self._screen = screen

    async def turns(self) -> AsyncGenerator[Turn, None]:
        """Yields the turns, newest first; a turn can span several responses, for example around a tool call."""
        rest: list[Body] = []  # of a turn that began earlier
        next_id: str | None = self._id
        oldest = None
        seen = 0
        while next_id is not None and seen < MAX_CHAIN:
            page = await self._responses.chain(self._principal, next_id, limit=RESPONSES)
            for oldest in page:
                head, *begun = split(await self._screened_items(oldest))
                for turn in reversed(begun):
                    yield Turn(_messages([*turn, *rest]), ids=_ids([*turn, *rest]))
                    rest = []
                rest = [*head, *rest]
                if len(rest) > MAX_TURN:
                    return
            seen += len(page)
            next_id = page[-1].previous_id if page else None
        if oldest is not None and oldest.conversation_id is not None:
            before = oldest.conversation_before
            async with aclosing(
                newest_turns(
                    self._conversations, self._principal, oldest.conversation_id, before=before, screen=self._screen
                )
            ) as earlier:
                async for said in earlier:
                    yield Turn([*said.messages, *items.messages(rest)], said.seq, (*said.ids, *_ids(rest)))
                    rest = []
        if rest and (messages := _messages(rest)):
            yield Turn(messages, ids=_ids(rest))

    async def _screened_items(self, response: StoredResponse) -> Sequence[Body]:
        if (screen := self._screen) is None:
            return response.items
        return [await screen.item(body["id"], body, response.checked) for body in response.items]

    async def left_out(self, shown: Sequence[Turn]) -> int:
        """Returns the number of turns before `shown`."""
        return max(await self._responses.count_turns(self._principal, self._id) - len(shown), 0)


def _ids(bodies: Sequence[Body]) -> tuple[str, ...]:
    return tuple(body["id"] for body in bodies)


def _messages(bodies: Sequence[Body]) -> list[Message]:
    """Returns a turn without results whose call was deleted: engines reject them."""
    calls = {body["call_id"] for body in bodies if body["type"] == "function_call"}
    return items.messages(b for b in bodies if b["type"] != "function_call_output" or b["call_id"] in calls)
