"""Puts guardrails around a request: what it says is checked before anything else reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from serving.api.errors import invalid
from serving.api.exchange import Exchange
from serving.api.generation import Outcome
from serving.api.guard import REMOVED, Guard
from serving.api.http import validate
from serving.api.recorder import recorder
from serving.api.response_schemas import ResponseRequest
from serving.api.schemas import ChatRequest, CompletionRequest
from serving.api.services import Services
from serving.assistants.resolver import Route
from serving.security.guardrails.rails import Stage
from serving.security.guardrails.screen import screen, screen_arguments

Body = TypeVar("Body", ChatRequest, CompletionRequest, ResponseRequest)

_FIELDS = {"messages": "user", "instructions": "system", "input": "user", "prompt": "user"}
"""Fields of requests that hold texts, and whose words they are where nothing says so."""

_INSIDE = ("content", "text", "output", "refusal", "tool_calls", "function", "arguments")
"""Fields inside of them."""

OnText = Callable[[str, str, str], Awaitable[str]]
"""From a text, the role that says it (`arguments` for those of a call) and its place to what stands for it."""


async def guarded(s: Services, x: Exchange, route: Route, body: Body) -> Body:
    """Returns the request after the guardrails of its assistant, which are `x.guard` from then on.

    Raises a 400 where it is blocked. The attempt is captured, without the secrets and personal data that it holds.
    """
    rails = s.rails.of(route.assistant)
    if rails is None:
        return body
    x.guard = guard = Guard(rails, s.judges)
    if not rails.input and not rails.context:
        return body
    refused: list[str] = []

    async def check(text: str, role: str, place: str) -> str:
        if role == "arguments":
            return text
        result = await guard.check(text, "context" if role == "tool" else "input", place, role)
        if result.blocked and role == "tool":
            return REMOVED
        if result.blocked:
            refused.append(place)
        return result.text

    async with s.admission.admit():
        checked = await _with_texts(body, check)
    if not refused:
        return checked
    recorded = recorder(s, x, route, await _without_private(body, rails.input))
    if recorded is not None:
        said = {"role": "assistant", "content": "", "headrace": {"guardrails": guard.report}}
        choice = {"index": 0, "message": said, "finish_reason": "content_filter"}
        await recorded(Outcome(x.new_id("blocked"), "error", {}, [choice], {}, code="content_filter"))
    found = next(entry for entry in guard.report if entry["action"] == "block" and entry["place"] == refused[0])
    s.audit.count("guardrail.block", found["check"], x.caller.tenant)
    message = f"A guardrail blocks this request: {found['check']} ({found['kind']})."
    raise invalid(message, refused[0], "content_filter")


async def _without_private(body: Body, stage: Stage) -> Body:
    """Returns the request as it may be stored."""
    rules = tuple(replace(rule, action="redact") for rule in stage.rules if rule.name in ("secrets", "pii"))

    async def clean(text: str, role: str, place: str) -> str:
        return (screen_arguments if role == "arguments" else screen)(text, rules).text

    return await _with_texts(body, clean)


async def _with_texts(body: Body, on_text: OnText) -> Body:
    """Returns `body` with what `on_text` returns for each of its texts."""
    document = body.model_dump(exclude_unset=True, by_alias=True)
    changed = False
    for field, role in _FIELDS.items():
        if field in document:
            after = await _walk(document[field], field, role, on_text)
            changed = changed or after != document[field]
            document[field] = after
    return validate(type(body), document) if changed else body


async def _walk(value: Any, place: str, role: str, on_text: OnText) -> Any:
    if isinstance(value, str):
        return await on_text(value, role, place) if value else value
    if isinstance(value, list):
        return [await _walk(item, f"{place}[{i}]", role, on_text) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    role = "tool" if value.get("type") == "function_call_output" else value.get("role", role)
    return {
        name: await _walk(item, f"{place}.{name}", "arguments" if name == "arguments" else role, on_text)
        if name in _INSIDE
        else item
        for name, item in value.items()
    }
