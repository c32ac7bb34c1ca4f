"""Checks of a history before a model reads it."""

from __future__ import annotations

from typing import Protocol

from serving.store.conversations import Body


class HistoryScreen(Protocol):
    """The checks of an assistant. `checked` names the guardrails that an item passed when it was stored; None if none
    read it.
    """

    async def item(self, id: str, body: Body, checked: str | None) -> Body:
        """Returns the part of an item that may be in the prompt as a message."""
        ...

    async def quoted(self, id: str, body: Body, checked: str | None) -> Body:
        """Returns the part of an item that may be quoted in another text."""
        ...

    async def note(self, text: str) -> str:
        """Returns the part of a stored text that may be in the prompt; empty if none may."""
        ...
