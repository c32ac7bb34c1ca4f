"""Converts a chat to a generation job with the engine's request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.assistants import prompt
from serving.assistants.reader import BARE
from serving.assistants.spotlight import Spotlight
from serving.engines.router import Route
from serving.inference.job import CHAT, Annotator, GenerationJob, sampling_fields
from serving.inference.outcome import AnswerKeeper
from serving.inference.request_forms import ParsedRequest
from serving.protocol.chat import ChatRequest, NamedChoice
from serving.retrieval.types import Hit


def chat_job(
    asked: ParsedRequest,
    route: Route,
    hits: Sequence[Hit] | None,
    *,
    marks: Spotlight | None = None,
    annotator: Annotator | None = None,
    keeper: AnswerKeeper | None = None,
) -> GenerationJob:
    """Returns the job that answers a chat from `hits`, which are shown between `marks`."""
    body = asked.read or asked.chat
    return GenerationJob(
        path=CHAT,
        id=asked.id,
        route=route,
        document=_document(body, route, hits, marks),
        stream=body.stream,
        want_usage=body.stream_options is not None and body.stream_options.include_usage,
        text_only=not any(message.attaches for message in body.messages),
        memory=asked.context,
        annotator=annotator,
        keeper=keeper,
        relay=asked.relay,
        param=asked.param,
    )


def _document(body: ChatRequest, route: Route, hits: Sequence[Hit] | None, marks: Spotlight | None) -> dict[str, Any]:
    conversation = [_message(m.model_dump(exclude_none=True)) for m in body.messages]
    document: dict[str, Any] = sampling_fields(body)
    max_tokens = body.max_completion_tokens or body.max_tokens
    assistant = route.assistant
    if assistant is not None:
        conversation = prompt.messages(assistant, hits or (), conversation, marks)
        max_tokens = max_tokens or assistant.max_tokens
        if assistant.temperature is not None:
            document.setdefault("temperature", assistant.temperature)
    elif hits:
        conversation = prompt.messages(BARE, hits, conversation, marks)
    if max_tokens is not None:
        document["max_tokens"] = max_tokens
    for name in ("logprobs", "top_logprobs", "tool_choice", "parallel_tool_calls"):
        if (value := getattr(body, name)) is not None:
            document[name] = value.model_dump() if isinstance(value, NamedChoice) else value
    if body.tools:
        document["tools"] = [t.model_dump(exclude_none=True) for t in body.tools]
    if body.response_format is not None:
        document["response_format"] = body.response_format.model_dump(exclude_none=True, by_alias=True)
    document["messages"] = conversation
    return document


def _message(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "developer":  # OpenAI's newer name for the same role, which most engines do not know
        message["role"] = "system"
    return message
