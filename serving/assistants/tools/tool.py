"""Tools that a model calls, within limits: whatever a tool does, the model gets a short text."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jsonschema
from jsonschema.validators import extend
from pydantic import BaseModel, ConfigDict, ValidationError
from referencing import Registry

from serving.assistants.spotlight import OVERHEAD, Spotlight, without_marks
from serving.config import Approval
from serving.guardrails.checker import ArgumentsBlocked
from serving.telemetry import metrics, tracing
from serving.telemetry.catalogue import OTHER

log = logging.getLogger("headrace.tools")

MAX_OBSERVATION = 4000
"""Maximum number of characters of a tool's result for the model."""

MAX_ARGUMENTS = 100_000
"""Maximum number of characters of a model's arguments."""

# Patterns are ignored: one from a third party can take for ever to match, and its author validates the arguments
# anyway.
_Validator = extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": lambda *_: None, "patternProperties": lambda *_: None}
)


class Parameters(BaseModel):
    """Base class of tools' parameters."""

    model_config = ConfigDict(extra="forbid")


class ToolError(Exception):
    """A tool failed. The message is for the model."""


class ToolRefused(ToolError):
    """A tool was not called."""


class ToolTimeout(ToolError):
    """A tool timed out."""


_OUTCOMES: dict[type[ToolError], str] = {ToolRefused: "refused", ToolTimeout: "timeout"}


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that was not made, since it requires approval; `arguments` are canonical JSON."""

    tool: str
    arguments: str

    @property
    def digest(self) -> str:
        """SHA-256 of the arguments, in hex."""
        return hashlib.sha256(self.arguments.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call; `call` gets the result of `read`, and returns text.

    `parameters` is a model, or a JSON Schema (draft 2020-12) of an object. `effects` tells whether a call, or this
    call, has external effects; `untrusted` whether results may contain text from others. `approval` tells when a call
    requires approval. `configured` is the name of its setting, by default its own.
    """

    name: str
    description: str
    parameters: type[Parameters] | dict[str, Any]
    call: Callable[[Any], Awaitable[str]]
    effects: bool | Callable[[Any], bool] = False
    untrusted: bool = False
    approval: Approval = "tainted"
    configured: str = ""

    @property
    def fields(self) -> list[str]:
        """The names of its parameters."""
        if isinstance(self.parameters, dict):
            properties = self.parameters.get("properties")
            return list(properties) if isinstance(properties, dict) else []
        return list(self.parameters.model_fields)

    @property
    def schema(self) -> dict[str, Any]:
        """The tool in the format of OpenAI's API."""
        given = self.parameters
        parameters = given if isinstance(given, dict) else given.model_json_schema()
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    @property
    def line(self) -> str:
        """The tool on one line of a prompt."""
        fields = self.fields
        takes = fields[0] if len(fields) == 1 else f"JSON with {', '.join(fields)}" if fields else "nothing"
        return f"{self.name} (Action Input: {takes}): {self.description}"

    def read(self, arguments: str) -> Parameters | dict[str, Any]:
        """Parses a model's arguments: a JSON object, or the plain text of the tool's only parameter.

        Raises `ToolError`.
        """
        if len(arguments) > MAX_ARGUMENTS:
            raise ToolError(f"the arguments have more than {MAX_ARGUMENTS} characters")
        fields = self.fields
        try:
            document = json.loads(arguments)
        except (ValueError, RecursionError):
            document = arguments.strip()
        if not isinstance(document, dict):
            if document and len(fields) != 1:
                raise ToolError("the arguments are not a JSON object")
            # A quoted text is meant without quotes; a number in place of a text keeps its notation.
            document = {fields[0]: document if isinstance(document, str) else arguments.strip()} if document else {}
        if isinstance(self.parameters, dict):
            _check(document, self.parameters)
            return document
        try:
            return self.parameters.model_validate(document)
        except ValidationError as e:
            first = e.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))[:100]
            raise ToolError(f"the arguments are wrong: {where}: {first['msg']}") from None

    def needs_approval(self, given: Parameters | dict[str, Any], *, tainted: bool) -> bool:
        """Returns whether a call with `given` requires approval; `tainted` when the model has read untrusted text."""
        if self.approval == "tainted":
            return tainted and self.changes(given)
        return self.approval == "always"

    def changes(self, given: Parameters | dict[str, Any]) -> bool:
        """Returns whether a call with `given` may have external effects."""
        return self.effects(given) if callable(self.effects) else self.effects


@dataclass(frozen=True, slots=True)
class MadeTools:
    """The tools of a catalogue entry, and for how many seconds they can be reused."""

    tools: Sequence[Tool]
    keep_s: float = math.inf


class ToolScreen(Protocol):
    """Checks arguments and results of tools."""

    async def arguments(self, arguments: str) -> str:
        """Returns the arguments with which a tool may be called; raises `ArgumentsBlocked`."""
        ...

    async def observation(self, text: str) -> str:
        """Returns the part of a result that the model may read."""
        ...


class Toolbox:
    """The tools of one turn, with limits: in total `calls` calls and `characters` of results, and `seconds` per call.

    The turn is `tainted` once the model has read text from others. `approved` has names of tools and digests of
    arguments: each allows one call, before which `using` is called. `changing` is called before a call that may have
    external effects. `screen` checks arguments and results, and `marks` separate results from instructions.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        calls: int,
        seconds: float,
        *,
        characters: int = 24_000,
        tainted: bool = False,
        approved: Iterable[tuple[str, str]] = (),
        using: Callable[[str, str], Awaitable[None]] | None = None,
        changing: Callable[[], Awaitable[None]] | None = None,
        screen: ToolScreen | None = None,
        marks: Spotlight | None = None,
    ) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.tainted = tainted
        self._calls = self._left = calls
        self._seconds = seconds
        self._characters = self._characters_left = characters
        self._approved = list(approved)
        self._using = using
        self._changing = changing
        self._screen = screen
        self._marks = marks
        self._screened: dict[str, str] = {}  # arguments of calls that have not been made yet

    async def pending(self, calls: Iterable[tuple[str, str]]) -> list[PendingCall]:
        """Returns those of `calls`, by name and arguments, that require approval."""
        approved = list(self._approved)
        found = []
        for name, arguments in calls:
            tool = self.tools.get(name)
            if tool is None:
                continue
            try:
                self._screened[arguments] = screened = await self._screened_arguments(arguments)
                waits = self._pending(tool, tool.read(screened), approved)
            except ToolError:
                continue  # the call itself reports the error
            if waits is not None:
                found.append(waits)
        return found

    async def _screened_arguments(self, arguments: str) -> str:
        """Returns the screened arguments, which are those that approvals refer to. Raises `ToolError`."""
        if (screened := self._screened.pop(arguments, None)) is not None:
            return screened
        if self._screen is None:
            return arguments
        try:
            return await self._screen.arguments(arguments)
        except ArgumentsBlocked as e:
            raise ToolRefused(str(e)) from None

    def _pending(
        self, tool: Tool, given: Parameters | dict[str, Any], approved: list[tuple[str, str]]
    ) -> PendingCall | None:
        """Returns the call if it must wait; otherwise removes its approval from `approved`."""
        if not tool.needs_approval(given, tainted=self.tainted):
            return None
        waits = PendingCall(tool.name, canonical(given))
        if (tool.name, waits.digest) not in approved:
            return waits
        approved.remove((tool.name, waits.digest))
        return None

    async def call(self, name: str, arguments: str) -> str:
        """Returns the tool's result, or an error text: a model can continue after either."""
        called = name[:64]
        if name not in self.tools:
            # Nothing was called: the model's own mistake counts towards no limit, and no guardrail reads the error
            # text.
            self._count(name, "refused")
            return well_formed(f"Error: {called} is not a valid tool, try one of [{', '.join(self.tools)}].")
        asked = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": called, "gen_ai.tool.type": "function"}
        try:
            with tracing.span(f"execute_tool {called}", asked) as span:
                if span is not None:
                    span.content("gen_ai.tool.call.arguments", arguments)
                said = await self._call(name, arguments)
                if span is not None:
                    span.content("gen_ai.tool.call.result", said)
            self._count(name, "ok")
        except ToolError as e:
            self._count(name, _OUTCOMES.get(type(e), "error"))
            said = f"Error: {e}."
        said = well_formed(said)
        if self._screen is not None:
            said = await self._screen.observation(said)
        most = min(MAX_OBSERVATION, max(self._characters_left, 100))
        if self._marks is not None and most > 2 * OVERHEAD:
            said = self._marks.on(shorten(said, most - OVERHEAD))
        else:
            said = without_marks(shorten(said, most))
        self._characters_left -= len(said)
        return said

    def _count(self, name: str, outcome: str) -> None:
        tool = self.tools.get(name)  # a model may call a tool that does not exist
        metrics.child(metrics.tool_calls, (tool.configured or tool.name) if tool is not None else OTHER, outcome).inc()

    async def _call(self, name: str, arguments: str) -> str:
        tool = self.tools[name]
        if self._left == 0:
            raise ToolRefused(f"all {self._calls} tool calls are used up: answer now")
        if self._characters_left <= 0:
            raise ToolRefused(f"tool results have reached the limit of {self._characters} characters: answer now")
        self._left -= 1
        given = tool.read(await self._screened_arguments(arguments))
        waits = tool.needs_approval(given, tainted=self.tainted)
        if self._pending(tool, given, self._approved) is not None:
            raise ToolRefused(f"{name} was not called: somebody must approve it first")
        if waits and self._using is not None:
            await self._using(tool.name, PendingCall(tool.name, canonical(given)).digest)
        if self._changing is not None and tool.changes(given):
            await self._changing()
        scope = asyncio.timeout(self._seconds)
        try:
            async with scope:
                result: object = await tool.call(given)
        except ToolError:
            raise
        except Exception as e:
            if scope.expired():
                raise ToolTimeout(f"{name} took longer than {self._seconds:g} s") from None
            log.warning("the tool %s failed", name, exc_info=e)
            raise ToolError(f"{name} failed") from None
        finally:
            self.tainted = self.tainted or tool.untrusted  # the text of an error can be from others too
        if not isinstance(result, str):
            raise ToolError(f"{name} returned {type(result).__name__}, not text")
        return result or "(nothing)"


def canonical(given: Parameters | dict[str, Any]) -> str:
    """Returns the arguments of a call in canonical form: JSON in ASCII with sorted keys."""
    document = given if isinstance(given, dict) else given.model_dump(mode="json")
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _check(document: dict[str, Any], schema: dict[str, Any]) -> None:
    """Raises `ToolError` when `document` does not match `schema`, or the schema is invalid."""
    try:
        # A separate registry: external references are not fetched.
        problem = next(_Validator(schema, registry=Registry()).iter_errors(document), None)
    except (Exception, RecursionError) as e:
        log.warning("a tool's schema cannot be used: %s", type(e).__name__)
        raise ToolError("the schema of its arguments cannot be used") from None
    if problem is not None:
        raise ToolError(f"the arguments are wrong: {problem.json_path[:100]}: {problem.message[:500]}")


def well_formed(text: str) -> str:
    """Returns `text` without unpaired surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode()


def shorten(text: str, limit: int) -> str:
    """Returns `text` truncated to `limit` characters, with a note about the rest."""
    if len(text) <= limit:
        return text
    note = f" [{len(text)} characters, cut here]"
    return text[: max(limit - len(note), 0)] + note[:limit]
