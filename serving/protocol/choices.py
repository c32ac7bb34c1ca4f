"""Choices of a chat completion as callers see them."""

from __future__ import annotations

from typing import Any


def complete_choice(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns a choice with the fields that OpenAI always sends, null or empty where the engine said nothing.

    Source: OpenAI's OpenAPI document, `CreateChatCompletionResponse`.
    """
    message = choice.get("message")
    if message is None or isinstance(message, dict):  # anything else is shown as the engine has it
        message = {"refusal": None, "annotations": [], **(message or {})}
    return {"logprobs": None, **choice, "message": message}
