"""Tools that a model calls, within limits: whatever a tool does, the model is told something short."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

log = logging.getLogger("headrace.tools")

MAX_OBSERVATION = 4000
"""Characters of a tool's result that the model is shown."""


class Parameters(BaseModel):
    """Base of what a tool takes."""

    model_config = ConfigDict(extra="forbid")


class ToolError(Exception):
    """A tool cannot do what it was asked. The message is for the model."""


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that a model may call; `call` gets an object of `parameters` and returns text."""

    name: str
    description: str
    parameters: type[Parameters]
    call: Callable[[Any], Awaitable[str]]

    @property
    def schema(self) -> dict[str, Any]:
        """The tool in the shape of OpenAI's API."""
        parameters = self.parameters.model_json_schema()
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    @property
    def line(self) -> str:
        """The tool in a line of a prompt."""
        fields = list(self.parameters.model_fields)
        takes = fields[0] if len(fields) == 1 else f"JSON with {', '.join(fields)}" if fields else "nothing"
        return f"{self.name} (Action Input: {takes}): {self.description}"

    def read(self, arguments: str) -> Parameters:
        """Returns what a model wrote as arguments: a JSON object, or the one text that the tool takes, as it is.

        Raises `ToolError`.
        """
        fields = list(self.parameters.model_fields)
        try:
            document = json.loads(arguments)
        except (ValueError, RecursionError):
            document = arguments.strip()
        if not isinstance(document, dict):
            if document and len(fields) != 1:
                raise ToolError("the arguments are not a JSON object")
            # A text in quotes is meant without them; a number that stands for a text is meant as it was written.
            document = {fields[0]: document if isinstance(document, str) else arguments.strip()} if document else {}
        try:
            return self.parameters.model_validate(document)
        except ValidationError as e:
            first = e.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))[:100]
            raise ToolError(f"the arguments are wrong: {where}: {first['msg']}") from None


class Toolbox:
    """The tools of one turn; together they are called at most `calls` times, each for `seconds` at most."""

    def __init__(self, tools: Sequence[Tool], calls: int, seconds: float) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self._calls = self._left = calls
        self._seconds = seconds

    async def call(self, name: str, arguments: str) -> str:
        """Returns what the tool says, or what was wrong: a model can go on after either."""
        try:
            return shorten(await self._call(name, arguments), MAX_OBSERVATION)
        except ToolError as e:
            return shorten(f"Error: {e}.", MAX_OBSERVATION)

    async def _call(self, name: str, arguments: str) -> str:
        tool = self.tools.get(name)
        if tool is None:
            raise ToolError(f"there is no tool {name[:64]!r}; there are {', '.join(self.tools)}")
        if self._left == 0:
            raise ToolError(f"all {self._calls} tool calls are used up: answer now")
        self._left -= 1
        parameters = tool.read(arguments)
        scope = asyncio.timeout(self._seconds)
        try:
            async with scope:
                result: object = await tool.call(parameters)
        except ToolError:
            raise
        except Exception as e:
            if scope.expired():
                raise ToolError(f"{name} took longer than {self._seconds:g} s") from None
            log.warning("the tool %s failed", name, exc_info=e)
            raise ToolError(f"{name} failed") from None
        if not isinstance(result, str):
            raise ToolError(f"{name} returned {type(result).__name__}, not text")
        return result or "(nothing)"


def shorten(text: str, limit: int) -> str:
    """Returns `text` with at most `limit` characters, and a note of what was left out."""
    if len(text) <= limit:
        return text
    note = f" [{len(text)} characters, cut here]"
    return text[: max(limit - len(note), 0)] + note[:limit]
