"""What a caller may be told of the tokens that an engine counted."""

from __future__ import annotations

from typing import Any

PLAIN = ("prompt_tokens", "completion_tokens", "total_tokens", "completion_tokens_details")
"""What says nothing of an engine's caches, in whatever words each engine speaks of them."""


def without_cached(document: dict[str, Any]) -> None:
    """Takes out of an answer, or a frame of its stream, how much of the prompt the engine had read before.

    Where others share the engine's cache, that would say how far the prompt is like one of theirs.
    """
    if isinstance(usage := document.get("usage"), dict):
        document["usage"] = {name: usage[name] for name in PLAIN if name in usage}
    document.pop("timings", None)
