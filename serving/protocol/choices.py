"""Choices of a chat completion in the callers' format."""

from __future__ import annotations

from typing import Any


def complete_choice(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns a choice with all fields that OpenAI always sends, null or empty if the engine sent none.

    Source: OpenAI's OpenAPI document, `CreateChatCompletionResponse`.
    """
    message = choice.get("message")
    if message is None or isinstance(message, dict):  # anything else is passed on as the engine sent it
        message = {"refusal": None, "annotations": [], **(message or {})}
    return {"logprobs": None, **choice, "message": message}
