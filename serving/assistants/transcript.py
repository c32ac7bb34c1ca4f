"""A conversation as text for another model: one line for each message, with its speaker."""

from __future__ import annotations

from collections.abc import Iterable

from serving.assistants.items import Message

MAX_CHARACTERS = 8_000
"""Maximum number of characters of one message; longer ones are truncated."""

_SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool"}


def lines(messages: Iterable[Message]) -> list[str]:
    """Returns a line for each message and each tool call.

    Instructions are omitted: memory has the operator's authority, which a caller's instructions must not gain through
    it.
    """
    return [line for message in messages if message["role"] in _SPEAKERS for line in _lines(message)]


def _lines(message: Message) -> Iterable[str]:
    speaker = _SPEAKERS[message["role"]]
    if content := text(message):
        yield f"{speaker}: {cut(content)}"
    for call in message.get("tool_calls", ()):
        yield cut(f"{speaker} calls {call['function']['name']}({call['function']['arguments']})")


def text(message: Message) -> str:
    """Returns a message's text; pictures, recordings and files are replaced by their kind."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part["type"] == "text" else f"[{part['type']}]" for part in content)


def cut(line: str, most: int = MAX_CHARACTERS) -> str:
    """Returns `line`, or its beginning with a mark of truncation."""
    return line if len(line) <= most else f"{line[:most]} […]"
