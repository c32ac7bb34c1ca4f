"""Puts guardrails around a request: what it says is checked before anything else reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from serving.api.errors import invalid
from serving.api.exchange import Exchange
from serving.api.generation import Outcome
from serving.api.guard import REMOVED, Guard, screened
from serving.api.http import validate
from serving.api.recorder import captures, recorder
from serving.api.response_schemas import ResponseRequest
from serving.api.schemas import ChatRequest, CompletionRequest
from serving.api.services import Services
from serving.assistants.resolver import Route
from serving.security.guardrails.rails import Stage
from serving.security.guardrails.screen import screen, screen_arguments

Body = TypeVar("Body", ChatRequest, CompletionRequest, ResponseRequest)

_FIELDS = {"messages": "user", "instructions": "system", "input": "user", "prompt": "user"}
"""Fields of requests that hold texts, and whose words they are where nothing says so."""

_DESCRIBED = ("tools", "response_format", "text")
"""Fields that describe tools and the form of an answer, which a model reads too."""

_SAID = ("description", "title", "default", "const", "enum", "examples")
"""What is said in those; names and patterns are only matched."""

_INSIDE = ("content", "text", "output", "refusal", "tool_calls", "function", "arguments")
"""Fields inside of them."""

OnText = Callable[[str, str, str], Awaitable[str]]
"""From a text, the role that says it and its place to what stands for it.

Roles beside those of messages: `arguments` of a call, and `description` of a tool or a form.
"""


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
            result = await guard.call(text, place, "input")
        else:
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
    if (
        captures(s, route)
        and (recorded := recorder(s, x, route, await _without_private(body, rails.input))) is not None
    ):
        said = {"role": "assistant", "content": "", "headrace": {"guardrails": guard.report}}
        choice = {"index": 0, "message": said, "finish_reason": "content_filter"}
        await recorded(Outcome(x.new_id("blocked"), "error", {}, [choice], {}, code="content_filter"))
    name, kind = guard.blocks[refused[0]]
    s.audit.count("guardrail.block", name, x.caller.tenant)
    raise invalid(f"A guardrail blocks this request: {name} ({kind}).", refused[0], "content_filter")


async def _without_private(body: Body, stage: Stage) -> Body:
    """Returns the request as it may be stored."""
    rules = tuple(replace(rule, action="redact") for rule in stage.rules if rule.name in ("secrets", "pii"))

    async def clean(text: str, role: str, place: str) -> str:
        return (await screened(text, rules, screen_arguments if role == "arguments" else screen)).text

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
    for field in _DESCRIBED:
        if field in document:
            after = await _described(document[field], field, on_text)
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


async def _described(value: Any, place: str, on_text: OnText, *, said: bool = False) -> Any:
    if isinstance(value, str):
        return await on_text(value, "description", place) if said and value else value
    if isinstance(value, list):
        return [await _described(item, f"{place}[{i}]", on_text, said=said) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    return {
        name: await _described(item, f"{place}.{name}", on_text, said=said or name in _SAID)
        for name, item in value.items()
    }
