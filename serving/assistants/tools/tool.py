"""Tools that a model calls, within limits: whatever a tool does, the model is told something short."""

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

from serving.assistants.spotlight import OVERHEAD, Spotlight
from serving.config import Approval
from serving.guardrails.checker import ArgumentsBlocked
from serving.telemetry import metrics, tracing
from serving.telemetry.catalogue import OTHER

log = logging.getLogger("headrace.tools")

MAX_OBSERVATION = 4000
"""Characters of a tool's result that the model is shown."""

MAX_ARGUMENTS = 100_000
"""Characters of what a model may write as arguments."""

# A pattern of a stranger's schema can take for ever to match; whoever wrote it checks what they get anyway.
_Validator = extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": lambda *_: None, "patternProperties": lambda *_: None}
)


class Parameters(BaseModel):
    """Base of what a tool takes."""

    model_config = ConfigDict(extra="forbid")


class ToolError(Exception):
    """A tool cannot do what it was asked. The message is for the model."""


class ToolRefused(ToolError):
    """A tool was not called."""


class ToolTimeout(ToolError):
    """A tool took too long."""


_OUTCOMES: dict[type[ToolError], str] = {ToolRefused: "refused", ToolTimeout: "timeout"}


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that was not made, since somebody must approve of it first; `arguments` are canonical JSON."""

    tool: str
    arguments: str

    @property
    def digest(self) -> str:
        """SHA-256 of the arguments, in hex."""
        return hashlib.sha256(self.arguments.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that a model may call; `call` gets what `read` returns, and returns text.

    `parameters` is a model, or a JSON Schema (draft 2020-12) of an object. `effects` says whether a call, or this
    call, changes something outside; `untrusted` whether what comes back was written by others. `approval` says when
    somebody must approve of a call. `configured` is the name of the setting that it comes from, by default its own.
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
        """The tool in the shape of OpenAI's API."""
        given = self.parameters
        parameters = given if isinstance(given, dict) else given.model_json_schema()
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    @property
    def line(self) -> str:
        """The tool in a line of a prompt."""
        fields = self.fields
        takes = fields[0] if len(fields) == 1 else f"JSON with {', '.join(fields)}" if fields else "nothing"
        return f"{self.name} (Action Input: {takes}): {self.description}"

    def read(self, arguments: str) -> Parameters | dict[str, Any]:
        """Returns what a model wrote as arguments: a JSON object, or the one text that the tool takes, as it is.

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
            # A text in quotes is meant without them; a number that stands for a text is meant as it was written.
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
        """Whether somebody must approve of a call with `given`; `tainted` when the model has read untrusted text."""
        if self.approval == "tainted":
            return tainted and self.changes(given)
        return self.approval == "always"

    def changes(self, given: Parameters | dict[str, Any]) -> bool:
        """Whether a call with `given` may change something outside."""
        return self.effects(given) if callable(self.effects) else self.effects


@dataclass(frozen=True, slots=True)
class MadeTools:
    """The tools that an entry of the catalogue stands for, and for how many seconds they may be used again."""

    tools: Sequence[Tool]
    keep_s: float = math.inf


class ToolScreen(Protocol):
    """Checks what goes to tools and what comes back."""

    async def arguments(self, arguments: str) -> str:
        """Returns the arguments with which a tool may be called; raises `ArgumentsBlocked`."""
        ...

    async def observation(self, text: str) -> str:
        """Returns what the model may read."""
        ...


class Toolbox:
    """The tools of one turn; together they are called at most `calls` times, each for `seconds` at most, and what
    they say has at most `characters`.

    The turn is `tainted` once the model has read what others wrote. `approved` holds names of tools and digests of
    arguments: each stands for one call, and `using` is told before that is made. `changing` is told before a call that
    may change something outside. `screen` checks calls and what they bring, and `marks` set that apart from
    instructions.
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
        self._screened: dict[str, str] = {}  # arguments of calls that are still to be made

    async def pending(self, calls: Iterable[tuple[str, str]]) -> list[PendingCall]:
        """Returns those of `calls`, by name and arguments, that somebody must approve of before they are made."""
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
                continue  # the call itself says what is wrong
            if waits is not None:
                found.append(waits)
        return found

    async def _screened_arguments(self, arguments: str) -> str:
        """Returns the arguments that a tool may be given, which are those that are approved of. Raises `ToolError`."""
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
        """Returns the call if it must wait, else takes what allows it out of `approved`."""
        if not tool.needs_approval(given, tainted=self.tainted):
            return None
        waits = PendingCall(tool.name, canonical(given))
        if (tool.name, waits.digest) not in approved:
            return waits
        approved.remove((tool.name, waits.digest))
        return None

    async def call(self, name: str, arguments: str) -> str:
        """Returns what the tool says, or what was wrong: a model can go on after either."""
        called = name[:64]
        if name not in self.tools:
            # Nothing was called: the model's own mistake uses up nothing, and no guardrail reads what it is told of it.
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
            said = shorten(said, most)
        self._characters_left -= len(said)
        return said

    def _count(self, name: str, outcome: str) -> None:
        tool = self.tools.get(name)  # a model may call what there is not
        metrics.child(metrics.tool_calls, (tool.configured or tool.name) if tool is not None else OTHER, outcome).inc()

    async def _call(self, name: str, arguments: str) -> str:
        tool = self.tools[name]
        if self._left == 0:
            raise ToolRefused(f"all {self._calls} tool calls are used up: answer now")
        if self._characters_left <= 0:
            raise ToolRefused(f"tools have said {self._characters} characters, which is all: answer now")
        self._left -= 1
        given = tool.read(await self._screened_arguments(arguments))
        waits = tool.needs_approval(given, tainted=self.tainted)
        if self._pending(tool, given, self._approved) is not None:
            raise ToolRefused(f"{name} was not called: somebody must approve of it first")
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
            self.tainted = self.tainted or tool.untrusted  # an error's text can be a stranger's too
        if not isinstance(result, str):
            raise ToolError(f"{name} returned {type(result).__name__}, not text")
        return result or "(nothing)"


def canonical(given: Parameters | dict[str, Any]) -> str:
    """Returns the arguments of a call in a form that equal arguments share: JSON in ASCII with sorted keys."""
    document = given if isinstance(given, dict) else given.model_dump(mode="json")
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _check(document: dict[str, Any], schema: dict[str, Any]) -> None:
    """Raises `ToolError` when `document` is not what `schema` says, or the schema is none."""
    try:
        # A registry of its own: nothing is fetched from where a schema refers to.
        problem = next(_Validator(schema, registry=Registry()).iter_errors(document), None)
    except (Exception, RecursionError) as e:
        log.warning("a tool's schema cannot be used: %s", type(e).__name__)
        raise ToolError("the schema of its arguments cannot be used") from None
    if problem is not None:
        raise ToolError(f"the arguments are wrong: {problem.json_path[:100]}: {problem.message[:500]}")


def well_formed(text: str) -> str:
    """Returns `text` without halves of surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def shorten(text: str, limit: int) -> str:
    """Returns `text` with at most `limit` characters, and a note of what was left out."""
    if len(text) <= limit:
        return text
    note = f" [{len(text)} characters, cut here]"
    return text[: max(limit - len(note), 0)] + note[:limit]
