"""The prompt of an assistant: instructions, excerpts and conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.assistants.spotlight import Spotlight, without_marks
from serving.config import Assistant
from serving.retrieval.types import Hit

QUESTION = "Question: "
REQUEST = "Answer with the sentence of the text above that answers it."


def messages(
    assistant: Assistant, hits: Sequence[Hit], conversation: list[dict[str, Any]], marks: Spotlight | None = None
) -> list[dict[str, Any]]:
    """Returns the messages for the model.

    The assistant's prompt comes first; the caller's system messages follow, so that they can add to it but not precede
    it. The excerpts of `hits` are in the last user message, before its text, between `marks`.
    """
    conversation = _with_excerpts(hits, conversation, marks) if hits else conversation
    if assistant.prompt:
        return [{"role": "system", "content": assistant.prompt}, *conversation]
    return conversation


def question_of(conversation: Sequence[dict[str, Any]]) -> int | None:
    """Returns the index of the last user message, None when there is none."""
    return next((i for i in range(len(conversation) - 1, -1, -1) if conversation[i]["role"] == "user"), None)


def _with_excerpts(
    hits: Sequence[Hit], conversation: list[dict[str, Any]], marks: Spotlight | None
) -> list[dict[str, Any]]:
    """Puts the excerpts before the question and the request after it.

    A small model follows what it read last: with the excerpts in the system message, or the request anywhere but at the
    end, SmolLM2-135M answers from memory. For the same reason, the best excerpt is next to the question.
    """
    asked = question_of(conversation)
    if asked is None:
        return conversation
    excerpts = "\n\n".join(hit.text for hit in reversed(hits))
    excerpts = marks.on(excerpts) if marks is not None else without_marks(excerpts)
    before, after = f"{excerpts}\n\n{QUESTION}", f"\n{REQUEST}"
    return [*conversation[:asked], around(conversation[asked], before, after), *conversation[asked + 1 :]]


def around(message: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    """Returns `message` with text before and after its content."""
    content = message["content"]
    if isinstance(content, str):
        content = before + content + after
    else:  # parts stay unchanged; text parts are added around them
        content = [{"type": "text", "text": before}, *content, {"type": "text", "text": after}]
    return {**message, "content": content}
