"""OpenAI's response object, from the request to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.assistants import items
from serving.config import Assistant
from serving.core.ids import new_id, part_id
from serving.inference.outcome import Outcome
from serving.inference.steps import reasoning_item
from serving.protocol.errors import ApiError, upstream
from serving.protocol.responses import ResponseRequest
from serving.retrieval.types import Hit
from serving.store.conversations import PREFIXES, Body
from serving.store.responses import NewResponse, StoredResponse
from serving.store.values import Attribute

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class QueuedResponse:
    """A background response. `first_event` is the number of the first event of its stream."""

    id: str
    created_at: int
    first_event: int = 0


class ResponseObject:
    """A response in progress: its request's `own` items, and the context that it continues.

    `headrace` has fields that OpenAI lacks: they are returned once and not stored. `session` is the conversation, or
    else the first response of the chain. `searches` are the search items, and `prompt` describes the stored prompt that
    the request names.
    """

    def __init__(
        self,
        body: ResponseRequest,
        own: Sequence[Body] = (),
        previous: StoredResponse | None = None,
        assistant: Assistant | None = None,
        queued: QueuedResponse | None = None,
        prompt: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = queued.id if queued is not None else new_id("resp")
        self.headrace: dict[str, Any] | None = None
        self.searches: list[dict[str, Any]] = []
        self._own = own
        self.shows_results = "file_search_call.results" in (body.include or ())
        self.conversation = body.conversation_id
        self.session = previous.session_id if previous is not None else self.conversation or self.id
        choice = body.tool_choice or "auto"
        temperature = body.temperature
        if temperature is None and assistant is not None:
            temperature = assistant.temperature
        text = {"format": {"type": "text"}}
        if body.text is not None and body.text.format is not None:
            text = body.text.model_dump(exclude_none=True, by_alias=True)
        self._document: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": queued.created_at if queued is not None else int(time.time()),
            "status": "in_progress",
            "background": body.background is True,
            "completed_at": None,
            "error": None,
            "frequency_penalty": 0,
            "incomplete_details": None,
            "instructions": body.instructions if prompt is None else None,  # the prompt's text stays in its place
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "model": body.model,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "presence_penalty": 0,
            "previous_response_id": body.previous_response_id,
            "prompt": dict(prompt) if prompt is not None else None,
            "prompt_cache_key": None,
            "conversation": {"id": self.conversation} if self.conversation is not None else None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": None,
            "service_tier": "default",
            "store": body.keeps,
            "temperature": 1 if temperature is None else temperature,  # clients require a number: OpenAI's default
            "text": text,
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "top_logprobs": 0,
            "top_p": 1 if body.top_p is None else body.top_p,
            "truncation": body.truncation or "auto",
            "usage": None,
            "metadata": body.metadata or {},
        }

    def queued(self) -> NewResponse:
        """Returns the queued object, before its input is read."""
        self._document["status"] = "queued"
        return NewResponse(self._document, (), self.id)

    def searched(self, question: str, hits: Sequence[Hit], attributes: Mapping[str, Mapping[str, Attribute]]) -> None:
        """Records a search, and its hits if the request asks for them.

        `attributes` are those of the files, by id.
        """
        results = [
            {
                "file_id": hit.file_id,
                "filename": hit.file_name,
                "score": min(max(hit.score, 0.0), 1.0),
                "attributes": dict(attributes.get(hit.file_id, {})),
                "text": hit.text,
            }
            for hit in hits
        ]
        self.searches.append(
            {
                "id": part_id("fs", self.id),
                "type": "file_search_call",
                "status": "completed",
                "queries": [question],
                "results": results if self.shows_results else None,
            }
        )

    def stored(self, outcome: Outcome) -> NewResponse | None:
        """Returns the part to store after the engine's end, or None; raises `ApiError` if the answer is not a message.

        A stream has ended it already, with its events.
        """
        if self.status == "in_progress":
            choice = outcome.choices[0]
            message, reason = choice.get("message") or {}, choice.get("finish_reason")
            self.headrace = message.get("headrace")
            reasoning = [reasoning_item(step, self.id) for step in outcome.steps]
            said = [{"id": self.item_id(item["type"]), **item} for item in output_items(message, reason)]
            self.finish([*self.searches, *reasoning, *said], reason, outcome.usage)
        document = self._document
        if not document["store"]:
            return None
        document = {**document, "output": [_without_results(item) for item in document["output"]]}
        return NewResponse(document, self._own, self.session, document["previous_response_id"], self.conversation)

    def document(self) -> dict[str, Any]:
        """Returns the object for the caller."""
        return self._document if self.headrace is None else {**self._document, "headrace": self.headrace}

    def item_id(self, kind: str) -> str:
        """Returns a new id for an item of its output, by which it can be referenced."""
        return part_id(PREFIXES[kind], self.id)

    @property
    def status(self) -> str:
        """Its status."""
        return str(self._document["status"])

    def finish(self, output: list[dict[str, Any]], finish_reason: str | None, usage: dict[str, Any]) -> None:
        """Ends it with its items, the finish reason, and the reported tokens."""
        reason = _INCOMPLETE.get(finish_reason or "")
        self._document |= {
            "output": output,
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "completed_at": None if reason else int(time.time()),
            "usage": _usage(usage),
        }

    def fail(self, error: ApiError) -> None:
        """Ends it without an answer."""
        self.headrace = None
        self._document |= {
            "output": [],
            "status": "failed",
            "incomplete_details": None,
            "completed_at": None,
            "error": {"code": "server_error", "message": error.message},
            "usage": None,
        }


def output_items(message: dict[str, Any], finish_reason: str | None) -> list[dict[str, Any]]:
    """Returns the items of an engine's message, without ids; raises `ApiError`. A call without an id gets one."""
    status = "incomplete" if finish_reason in _INCOMPLETE else "completed"
    try:
        for call in message.get("tool_calls") or ():
            call["id"] = call.get("id") or new_id("call")
            if not call["function"]["name"]:
                raise LookupError
        return items.bodies([{**message, "role": "assistant"}], status=status)
    except (AttributeError, LookupError, TypeError):
        raise upstream("The model's answer is not a chat message.") from None


def _without_results(item: dict[str, Any]) -> dict[str, Any]:
    """Returns an item for storage, without passages, which must not outlive their files."""
    return {**item, "results": None} if item["type"] == "file_search_call" else item


def _usage(usage: dict[str, Any]) -> dict[str, Any] | None:
    """Converts a chat's usage to that of a response; None when the engine reported none."""
    given = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if "prompt_tokens" not in usage and "completion_tokens" not in usage:
        return None
    cached = _count(usage.get("prompt_tokens_details"), "cached_tokens")
    reasoning = _count(usage.get("completion_tokens_details"), "reasoning_tokens")
    return {
        "input_tokens": given[0],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": given[1],
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": sum(given),
    }


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) else 0
