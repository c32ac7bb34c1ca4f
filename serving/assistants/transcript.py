"""A conversation as text that another model reads: who said what, one line each."""

from __future__ import annotations

from collections.abc import Iterable

from serving.assistants.items import Message

MAX_CHARACTERS = 8_000
"""Characters of one message; what stands beyond is cut off."""

_SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool"}


def lines(messages: Iterable[Message]) -> list[str]:
    """Returns a line for each message and each call of a tool.

    Instructions are left out: memory is shown with the operator's weight, which a caller's must not get by way of it.
    """
    return [line for message in messages if message["role"] in _SPEAKERS for line in _lines(message)]


def _lines(message: Message) -> Iterable[str]:
    speaker = _SPEAKERS[message["role"]]
    if content := text(message):
        yield f"{speaker}: {cut(content)}"
    for call in message.get("tool_calls", ()):
        yield cut(f"{speaker} calls {call['function']['name']}({call['function']['arguments']})")


def text(message: Message) -> str:
    """Returns what a message says; a picture, a recording or a file is named by its kind."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part["type"] == "text" else f"[{part['type']}]" for part in content)


def cut(line: str, most: int = MAX_CHARACTERS) -> str:
    """Returns `line`, or its beginning with a mark where it goes on."""
    return line if len(line) <= most else f"{line[:most]} […]"
