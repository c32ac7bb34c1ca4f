"""Completions for tests of exports."""

from __future__ import annotations

from itertools import count
from typing import Any

from serving.exports.completion import CapturedMessage, CapturedRating, Completion

_NUMBERS = count()


def completion(question: str = "What is it?", answer: str | None = "It is blue.", **changes: Any) -> Completion:
    """Returns an answer in a session of its own."""
    number = next(_NUMBERS)
    fields: dict[str, Any] = {
        "id": f"chatcmpl-{number}",
        "session": f"session-{number}",
        "at": float(number),
        "messages": (CapturedMessage("system", "Be brief."), CapturedMessage("user", question)),
        "answer": answer,
        "whole": True,
        "model": "m",
    }
    return Completion(**fields | changes)


def rated(*ratings: CapturedRating, **changes: Any) -> Completion:
    return completion(**changes, ratings=ratings)
