"""What an assistant checks of a history before its model reads it."""

from __future__ import annotations

from typing import Protocol

from serving.store.conversations import Body


class HistoryScreen(Protocol):
    """The checks. `checked` names those that an item passed when it was said, None where none read it."""

    async def item(self, id: str, body: Body, checked: str | None) -> Body:
        """Returns what may be shown of an item as it was said."""
        ...

    async def quoted(self, id: str, body: Body, checked: str | None) -> Body:
        """Returns what may be shown of an item that another text quotes."""
        ...

    async def note(self, text: str) -> str:
        """Returns what may be shown of a text that memory holds; empty where nothing may."""
        ...
