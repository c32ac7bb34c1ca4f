"""The request of a message, which the pipeline answers as a chat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from serving.config import Instructions
from serving.core.ids import new_id
from serving.engines.router import Route
from serving.guardrails.history import HistoryChecker
from serving.inference.conversation_context import ContextSources
from serving.inference.exchange import Exchange
from serving.inference.messages.chat import MessageChat
from serving.inference.messages.events import MessageRelay
from serving.inference.messages.object import message
from serving.inference.request_forms import ChatForm, ParsedRequest
from serving.protocol.chat import ChatRequest


class MessageForm(ChatForm):
    """A message."""

    FIELDS: Mapping[str, str] = {"response_format": "output_config.format"}

    def __init__(self, asked: MessageChat, sources: ContextSources) -> None:
        super().__init__(asked.body, sources)
        self._stops = asked.stops

    async def read(
        self, x: Exchange, route: Route, body: ChatRequest, instructions: Instructions, screen: HistoryChecker | None
    ) -> ParsedRequest:
        """Returns the chat, whose answer becomes a message."""
        chat = await super().read(x, route, body, instructions, screen)
        id = new_id("msg")
        relay = MessageRelay(id, body.model, self._stops) if body.stream else None
        return replace(chat, id=id, relay=relay, fields=self.FIELDS, render=partial(message, stops=self._stops))
