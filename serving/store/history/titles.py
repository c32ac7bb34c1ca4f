"""Titles of conversations that were given none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serving.store import values

TITLE = 80
"""Characters of a first question that are the title of its conversation, until it is given another one."""


def title_of(items: Sequence[Mapping[str, Any]]) -> str:
    """Returns how the first question in `items` begins, on one line; empty if there is none with text."""
    for item in items:
        content = item.get("content") if item.get("role") == "user" else None
        parts = [{"text": content}] if isinstance(content, str) else content or ()
        text = next((part["text"] for part in parts if part.get("text")), "")
        if line := " ".join(text[: 4 * TITLE].split()):
            return values.storable(line, TITLE)
    return ""
