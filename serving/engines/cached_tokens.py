"""Removes from usage reports what callers must not learn about an engine's prompt cache."""

from __future__ import annotations

from typing import Any

PLAIN = ("prompt_tokens", "completion_tokens", "total_tokens", "completion_tokens_details")
"""Fields of usage that reveal nothing about caches, in all engines' notations."""


def without_cached(document: dict[str, Any]) -> None:
    """Removes the number of cached prompt tokens from an answer, or from a frame of its stream.

    Where others share the engine's cache, the number would reveal how similar the prompt is to theirs.
    """
    if isinstance(usage := document.get("usage"), dict):
        document["usage"] = {name: usage[name] for name in PLAIN if name in usage}
    document.pop("timings", None)
