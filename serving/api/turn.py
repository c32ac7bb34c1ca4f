"""One turn of what is kept between requests: what the model is shown before it, and what is kept of it.

A turn is kept whole or not at all, in one transaction, after the engine's last word and before the caller's. What an
engine did not finish is not kept, and neither is the question: the caller asks again and it stands there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from serving.api.errors import ApiError, invalid, upstream
from serving.api.schemas import ChatRequest
from serving.api.tokens import Tokens, others
from serving.api.upstream import Upstream
from serving.assistants import items, memory
from serving.assistants.history import ConversationHistory, History
from serving.assistants.items import Message
from serving.assistants.memory import Turn
from serving.config import Memory
from serving.engines.endpoint import Endpoint
from serving.security.principal import Principal
from serving.store.conversations import Body, Conversations
from serving.store.errors import NotFound


class Recollection:
    """What the model is shown of `history`, which the request names in the field `param`.

    `report` says how many earlier turns the model was shown, and not shown.
    """

    def __init__(self, history: History, client: Upstream, remembers: Memory, param: str = "conversation") -> None:
        self._history = history
        self._client = client
        self._memory = remembers
        self._param = param
        self.report = {"turns": 0, "left_out": 0}

    async def recall(self, endpoint: Endpoint, document: dict[str, Any]) -> None:
        """Puts into the prompt of `document` what memory holds of the history and the engine's context allows.

        Instructions stay before it: most chat templates take them at the beginning only. A request that begins with
        what a tool returned goes on with the newest turn, which therefore is part of it.
        """
        prompt: list[Message] = document["messages"]
        instructions = next((i for i, m in enumerate(prompt) if m["role"] != "system"), len(prompt))
        before, after = prompt[:instructions], prompt[instructions:]
        tokens = Tokens(self._client, endpoint, document.get("tools"))
        room = memory.room(await tokens.window(), document.get("max_tokens"))
        going_on = []
        async with aclosing(self._history.turns()) as turns:
            if after and after[0]["role"] == "tool" and (newest := await anext(turns, None)) is not None:
                going_on = [newest]
                after = [*newest.messages, *after]
            kept = await memory.recall(self._memory, turns, before=before, after=after, room=room, fits=tokens.fit)
        document["messages"] = [*before, *items.paired(memory.flat(kept)), *after]
        shown = [*kept, *going_on]
        if endpoint.text_only and any(map(others, memory.flat(shown))):
            raise invalid("This model takes text only.", self._param, "unsupported_content")
        await self.count(shown)

    async def count(self, shown: Sequence[Turn] = ()) -> None:
        """Fills in `report`; `shown` are the newest turns."""
        self.report = {"turns": len(shown), "left_out": await self._history.left_out(shown)}


class OpenTurn(Recollection):
    """A chat completion's turn of `conversation`, from its request to its end."""

    def __init__(
        self, conversations: Conversations, client: Upstream, caller: Principal, remembers: Memory, body: ChatRequest
    ) -> None:
        given = body.conversation
        self.conversation = given if isinstance(given, str) else given.id if given is not None else ""
        super().__init__(ConversationHistory(conversations, caller, self.conversation), client, remembers)
        self._conversations = conversations
        self._caller = caller
        self._said = [message.model_dump(exclude_none=True) for message in body.messages]

    async def check(self) -> None:
        """Raises a 404 when the caller has no such conversation."""
        try:
            await self._conversations.get(self._caller, self.conversation)
        except NotFound as e:
            raise gone(e) from None

    def items(self, choice: dict[str, Any]) -> tuple[str, Sequence[Body]]:
        """Returns what is kept of what was asked and answered, and the conversation that keeps it; raises a 502."""
        status = "incomplete" if choice.get("finish_reason") in ("length", "content_filter") else "completed"
        try:
            answer = items.bodies([{**choice["message"], "role": "assistant"}], status=status)
            return self.conversation, items.bodies(self._said) + answer
        except (AttributeError, LookupError, TypeError):
            raise upstream("The model's answer is no message of a chat.") from None


def gone(error: NotFound) -> ApiError:
    """What a request goes on with is not there, or another tenant's."""
    param = "previous_response_id" if error.kind == "response" else error.kind
    return ApiError(404, "not_found", f"There is no such {error.kind}.", param=param)
