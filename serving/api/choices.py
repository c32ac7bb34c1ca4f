"""Choices of a chat completion as callers see them."""

from __future__ import annotations

from typing import Any


def shown(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns a choice with the fields that OpenAI always sends, null or empty where the engine said nothing.

    Source: OpenAI's OpenAPI document, `CreateChatCompletionResponse`.
    """
    message = choice.get("message")
    if isinstance(message, dict):  # else it is the engine's mistake, and shown as it is
        message = {"refusal": None, "annotations": [], **message}
    return {"logprobs": None, **choice, "message": message}
