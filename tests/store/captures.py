"""Captures and responses for tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.store.captures import Capture, Captures
from serving.store.conversations import Body
from serving.store.responses import NewResponse, Responses

TURN = [
    {"type": "message", "role": "user", "status": "completed", "content": [{"type": "input_text", "text": "hi"}]},
    {"type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "ho"}]},
]
"""A question and its answer, as items."""


def capture(principal: Principal, text: str = "hi", **changes: Any) -> Capture:
    """Returns the capture of an answer to `text`, not yet stored."""
    messages = [{"role": "user", "content": text}]
    answer = {"index": 0, "message": {"role": "assistant", "content": f"echo {text}"}, "finish_reason": "stop"}
    fields: dict[str, Any] = {
        "id": new_id("chatcmpl"),
        "tenant": principal.tenant,
        "user": principal.user,
        "request_id": "r",
        "conversation_id": None,
        "item_id": None,
        "session_id": None,
        "requested": "m",
        "assistant": None,
        "alias": "m",
        "model": "m",
        "adapter": None,
        "prompt_version": None,
        "request": {"model": "m", "messages": messages},
        "prompt": {"model": "theirs", "messages": messages},
        "chunks": [],
        "answer": [answer],
        "steps": [],
        "prompt_tokens": 3,
        "completion_tokens": None,
        "timings": {"decode": 0.5},
        "cost": None,
        "currency": None,
        "outcome": "completed",
        "error_code": None,
        "stored": True,
        "consent": True,
        "metadata": {},
        "created_at": now(),
    }
    return Capture(**fields | changes)


async def keep(
    responses: Responses,
    principal: Principal,
    body: dict[str, Any],
    input: Sequence[Body],
    *,
    previous_id: str | None = None,
    conversation_id: str | None = None,
) -> None:
    """Keeps a response without a capture."""
    new = NewResponse(body, input, conversation_id or previous_id or body["id"], previous_id, conversation_id)
    await Captures(responses._database).record(principal, None, response=new)
