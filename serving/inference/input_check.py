"""Input guardrails: they check a request before anything else reads it."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any, TypeVar

from serving.config import Assistant
from serving.core.ttl_cache import TtlCache
from serving.engines.router import Route
from serving.guardrails.checker import INSTRUCTIONS, REMOVED, GuardrailChecker, screened
from serving.guardrails.classifiers import Classifiers
from serving.guardrails.rails import AssistantRails, Stage
from serving.guardrails.screen import screen, screen_arguments
from serving.guardrails.texts import OnText, described, walk
from serving.inference.admission import Admission
from serving.inference.capture import AnswerRecorder
from serving.inference.exchange import Exchange
from serving.inference.outcome import blocked
from serving.inference.responses.prompt import NamedPrompt
from serving.protocol.chat import ChatRequest, CompletionRequest
from serving.protocol.errors import invalid, no_instructions
from serving.protocol.responses import ResponseRequest
from serving.protocol.validation import validate
from serving.security.audit import AuditLog

KEPT = 1_000
KEPT_S = 600.0
"""Size and lifetime of the cache of checks of tenants' assistants' instructions."""

Body = TypeVar("Body", ChatRequest, CompletionRequest, ResponseRequest)

_FIELDS = {"messages": "user", "instructions": "system", "input": "user", "prompt": "user"}
"""Fields of requests with texts, and the default role of each."""

_DESCRIBED = ("tools", "response_format", "text")
"""Fields that describe tools and the answer's format, which the model reads too."""


class InputCheck:
    """Checks requests before anything else reads them."""

    def __init__(self, judges: Classifiers, admission: Admission, recorder: AnswerRecorder, audit: AuditLog) -> None:
        self._judges = judges
        self._admission = admission
        self._recorder = recorder
        self._audit = audit
        self._own: TtlCache[tuple[str, str]] = TtlCache(KEPT_S, KEPT)

    async def check_instructions(
        self, x: Exchange, rails: AssistantRails, text: str, place: str = "instructions", *, trusted: bool = True
    ) -> None:
        """Raises `ApiError` for instructions that would be refused or blocked in a request of the caller.

        `place` is their location; unless they are `trusted`, they are checked as text of the user.
        """
        policy = rails.instructions(None, x.caller)
        if text and policy == "refuse":
            raise no_instructions(place)
        checks = rails.for_assistant(None)
        if not text or checks is None:
            return
        guard = GuardrailChecker(checks, self._judges, x.caller, trusting=trusted and policy == "trust")
        async with self._admission.admit():
            result = await guard.check_message(text, "system", place)
        if result.blocked:
            name, kind = guard.blocks[place]
            raise invalid(f"A guardrail blocks these instructions: {name} ({kind}).", place, "content_filter")

    def require_instructing(self, x: Exchange, rails: AssistantRails, place: str) -> bool:
        """Returns whether the caller is trusted with instructions; raises `ApiError` for one who may give none.

        `place` is what would change the instructions of requests.
        """
        policy = rails.instructions(None, x.caller)
        if policy == "refuse":
            raise no_instructions(place)
        return policy == "trust"

    async def _check_own(self, x: Exchange, guard: GuardrailChecker, assistant: Assistant) -> None:
        """Raises `ApiError` if a guardrail blocks the instructions of an assistant that a tenant created.

        They were checked at its creation, by the guardrails of that time. The result is cached, since every request has
        the same text.
        """
        if not assistant.prompt:
            return
        key = hashlib.sha256(repr((x.caller.tenant, guard.version, assistant.prompt)).encode()).digest()
        found = self._own.get(key)
        if found is None:
            apart = guard.apart()
            async with self._admission.admit(background=x.background):
                blocks = (await apart.check_message(assistant.prompt, "system", "instructions")).blocked
            found = apart.blocks["instructions"] if blocks else ("", "")
            if apart.whole:  # a model that gave no verdict is asked again
                self._own.put(key, found)
        name, kind = found
        if name:
            self._audit.count("guardrail.block", name, x.caller.tenant)
            said = f"A guardrail blocks the instructions of this assistant: {name} ({kind})."
            raise invalid(said, "model", "content_filter")

    async def check(
        self, x: Exchange, rails: AssistantRails, route: Route, body: Body, *, answers: bool = True
    ) -> Body:
        """Returns the request after its assistant's input guardrails, which become `x.guard`.

        Raises `ApiError` for refused instructions, and if the request is blocked. A blocked request is captured without
        secrets and personal data if it `answers`; one that only counts tokens is not.
        """
        instructions = rails.instructions(route.assistant, x.caller)
        if instructions == "refuse" and (place := _instructs(body)) is not None:
            raise no_instructions(place)
        checks = rails.for_assistant(route.assistant)
        if checks is None:
            return body
        # Another user's prompt is not what the application's developer wrote.
        trusting = instructions == "trust" and (x.prompt is None or x.prompt.trusted)
        x.guard = guard = GuardrailChecker(checks, self._judges, x.caller, trusting=trusting)
        if not checks.input and not checks.context:
            return body
        if route.own and route.assistant is not None:
            own = guard
            if route.prompt is not None and not route.prompt.trusted_for(x.caller):
                own = GuardrailChecker(checks, self._judges, x.caller)
            await self._check_own(x, own, route.assistant)
        refused: list[str] = []

        async def check(text: str, role: str, place: str) -> str:
            result = await guard.check_message(text, role, place)
            if result.blocked and role == "tool":
                return REMOVED
            if result.blocked:
                refused.append(place)
            return result.text

        async with self._admission.admit(background=x.background, within=x.run is not None):
            if x.prompt is not None and isinstance(body, ResponseRequest):
                body, blocks = await _with_variables(x, guard, x.prompt, body, joined=trusting)
                refused += blocks
            checked = await _with_texts(body, check)
        if not refused:
            return checked
        if answers and self._recorder.captures(route):
            keeper = self._recorder.keeper(x, route, await _without_private(body, checks.input))
            if keeper is not None:
                await keeper.keep(blocked(x))
        name, kind = guard.blocks[refused[0]]
        self._audit.count("guardrail.block", name, x.caller.tenant)
        place = "prompt" if refused[0] == "instructions" and x.prompt is not None else refused[0]
        raise invalid(f"A guardrail blocks this request: {name} ({kind}).", place, "content_filter")


async def _with_variables(
    x: Exchange, guard: GuardrailChecker, prompt: NamedPrompt, body: ResponseRequest, *, joined: bool
) -> tuple[ResponseRequest, list[str]]:
    """Returns the request with its prompt rendered from values that passed their checks, and the blocked places.

    They are checked as text of the user even where instructions are trusted: applications insert what others typed.
    There the whole prompt is not checked as such, so that with `joined` the values are also checked in their order, as
    one text, by models too.
    """
    values, blocks = {}, []
    for name, value in prompt.variables.items():
        place = f"prompt.variables.{name}"
        await asyncio.sleep(0)  # there can be many of them, and other streams must not wait for all
        result = await guard.value(value, place)
        values[name] = result.text
        if result.blocked:
            blocks.append(place)
    if values != prompt.variables:
        prompt = x.prompt = replace(prompt, variables=values)
        body = prompt.filled(body)
    if joined and not blocks and (text := prompt.inserted()) and await guard.blocks_joined(text, "prompt.variables"):
        blocks.append("prompt.variables")
    return body, blocks


def _instructs(body: ChatRequest | CompletionRequest | ResponseRequest) -> str | None:
    """Returns the location of a request's instructions, or None if it has none."""
    if isinstance(body, CompletionRequest):
        return None
    if isinstance(body, ResponseRequest):
        if body.prompt is not None:
            return "prompt"
        if body.instructions:
            return "instructions"
        said, field = (body.input if isinstance(body.input, list) else []), "input"
        roles = [getattr(item, "role", None) for item in said]
    else:
        roles, field = [message.role for message in body.messages], "messages"
    return next((f"{field}[{i}].role" for i, role in enumerate(roles) if role in INSTRUCTIONS), None)


async def _without_private(body: Body, stage: Stage) -> Body:
    """Returns the request with private data redacted, for storage."""
    rules = tuple(replace(rule, action="redact") for rule in stage.rules if rule.name in ("secrets", "pii"))

    async def clean(text: str, role: str, place: str) -> str:
        return (await screened(text, rules, screen_arguments if role == "arguments" else screen)).text

    return await _with_texts(body, clean)


async def _with_texts(body: Body, on_text: OnText) -> Body:
    """Returns `body` with each of its texts replaced by the result of `on_text`."""
    document = body.model_dump(exclude_unset=True, by_alias=True)
    changed = False
    for field, role in _FIELDS.items():
        if field in document:
            after = await walk(document[field], field, role, on_text)
            changed = changed or after != document[field]
            document[field] = after
    for field in _DESCRIBED:
        if field in document:
            after = await _described(document[field], field, on_text)
            changed = changed or after != document[field]
            document[field] = after
    return validate(type(body), document) if changed else body


async def _described(value: Any, field: str, on_text: OnText) -> Any:
    """Like `described`, but skips searches among the tools: no model reads their ids and filters."""
    if field != "tools" or not isinstance(value, list):
        return await described(value, field, on_text)
    searches = [isinstance(tool, dict) and tool.get("type") == "file_search" for tool in value]
    return [
        tool if search else await described(tool, f"{field}[{i}]", on_text)
        for i, (tool, search) in enumerate(zip(value, searches, strict=True))
    ]
