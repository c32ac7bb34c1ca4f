"""The texts of requests and items, each with its location and its role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

_NAMED = frozenset(("type", "name", "format", "required", "dependentRequired", "$ref", "$schema", "$id", "$anchor"))
"""Fields of a schema or a tool with names. A value counts as text if it has spaces or is long."""

_NAME_LENGTH = 200
"""Fields with text; names and patterns are only matched."""

_INSIDE = ("content", "text", "output", "refusal", "tool_calls", "function", "arguments", "file")
"""Fields of messages and items with text."""

_NAMES = ("name", "filename")
"""Fields with the name of a person, a function or a file, which the sender chooses."""

_SAYS = {"arguments": "arguments", **dict.fromkeys(_NAMES, "description")}
"""Fields whose texts have their own role."""

OnText = Callable[[str, str, str], Awaitable[str]]
"""Maps a text, its role and its location to its replacement.

Roles in addition to those of messages: `arguments` of a call, and `description` of a tool, a format, or a name.
"""


async def walk(value: Any, place: str, role: str, on_text: OnText) -> Any:
    """Returns a message, an item or a list of them, with each text replaced by the result of `on_text`."""
    if isinstance(value, str):
        return await on_text(value, role, place) if value else value
    if isinstance(value, list):
        return [await walk(item, f"{place}[{i}]", role, on_text) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    role = "tool" if value.get("type") == "function_call_output" else value.get("role", role)
    return {
        name: await walk(item, f"{place}.{name}", _SAYS.get(name, role), on_text)
        if name in _INSIDE or (name in _NAMES and isinstance(item, str))
        else item
        for name, item in value.items()
    }


async def described(value: Any, place: str, on_text: OnText, *, named: bool = False) -> Any:
    """Returns the description of tools or of an answer's format, with each text replaced by the result of `on_text`.

    Every string counts, whatever its field: engines put the whole schema into the prompt.
    """
    if isinstance(value, str):
        a_name = named and len(value) <= _NAME_LENGTH and not any(map(str.isspace, value))
        return await on_text(value, "description", place) if value and not a_name else value
    if isinstance(value, list):
        return [await described(item, f"{place}[{i}]", on_text, named=named) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    return {
        name: await described(item, f"{place}.{name}", on_text, named=name in _NAMED) for name, item in value.items()
    }
