"""ReAct: the model thinks, calls tools and reads their results, until it answers.

Source: Yao et al. 2023, ReAct: Synergizing Reasoning and Acting in Language Models. The model uses ReAct's text
protocol or OpenAI's tool calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.assistants.items import Message
from serving.assistants.strategies import answers, react_text, templates
from serving.assistants.strategies.work import StrategyAnswer, Work
from serving.assistants.tools.tool import PendingCall, Toolbox
from serving.assistants.unmarking import text_within
from serving.config import React, ReactCotSc, Template

MAX_CALLS = 16
"""Maximum number of tool calls of one message that are considered."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A tool call of the model."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class _Final:
    """The model's final text, and whether it was truncated."""

    text: str
    cut: bool


class _Dialogue(Protocol):
    """The dialogue with the model, in one of the protocols."""

    async def ask(self, step: int) -> _Final | Sequence[_Call]:
        """Returns the answer, or the model's calls; none if it must be asked again."""
        ...

    def observe(self, call: _Call, said: str) -> None:
        """Gives the model the result of a call."""
        ...


async def solve(
    work: Work, messages: list[Message], settings: React | ReactCotSc, toolbox: Toolbox
) -> StrategyAnswer | None:
    """Returns the answer, or None if `settings.steps` do not lead to one.

    If a call requires approval, no call of the same message is made, and the answer says so.
    """
    dialogue: _Dialogue
    if settings.protocol == "text":
        dialogue = _TextDialogue(work, messages, settings.react_template or templates.REACT, toolbox)
    else:
        dialogue = _ToolCallsDialogue(work, messages, toolbox)
    for step in range(settings.steps):
        said = await dialogue.ask(step)
        if isinstance(said, _Final):
            return StrategyAnswer(said.text, answers.value(said.text), "length" if said.cut else "stop")
        if pending := await toolbox.pending([(call.name, call.arguments) for call in said]):
            return await _waiting(work, pending)
        for call, observation in zip(said, await _make(said, toolbox), strict=True):
            await work.note("observation", text_within(observation), name=call.name)
            dialogue.observe(call, observation)
    return None


async def _make(calls: Sequence[_Call], toolbox: Toolbox) -> list[str]:
    """Makes the calls of one message concurrently, and returns the result of each.

    If calls cannot be made, raises the error of the first one, after the others have ended.
    """
    # A task group would suffice, but after an error Python 3.11's leaves the waiting task marked as cancelled.
    tasks = [asyncio.create_task(toolbox.call(call.name, call.arguments)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _waiting(work: Work, calls: Sequence[PendingCall]) -> StrategyAnswer:
    for call in calls:
        await work.note("approval", call.arguments, name=call.tool)
    names = ", ".join(dict.fromkeys(call.tool for call in calls))
    text = f"I have not called {names}: that waits for approval."
    return StrategyAnswer(text, None, pending=tuple(calls))


class _TextDialogue:
    """ReAct's own protocol: one Thought, Action and Action Input in each text."""

    def __init__(self, work: Work, messages: list[Message], template: Template, toolbox: Toolbox) -> None:
        self._work = work
        lines = "\n".join(tool.line for tool in toolbox.tools.values())
        self._chat = templates.ask(template, messages, tools=lines)

    async def ask(self, step: int) -> _Final | Sequence[_Call]:
        before = self._work.usage.completion_tokens
        (said, *_) = await self._work.generate(self._chat, stop=react_text.STOP)
        tokens = self._work.usage.completion_tokens - before
        parsed = react_text.parse(said.text)
        thought = said.text if parsed is None else parsed.thought
        if thought:
            await self._work.note("thought", thought, tokens=tokens)
            tokens = 0
        match parsed:
            case react_text.Final(answer=answer):
                return _Final(answer, said.finish_reason == "length")
            case react_text.Action(tool=tool, arguments=arguments, said=text):
                await self._work.note("action", arguments, name=tool, tokens=tokens)
                self._add("assistant", text)
                return [_Call(f"call_{step}", tool, arguments)]
        complaint = f"Error: {react_text.FORM}."
        await self._work.note("observation", complaint)
        if self._work.draft is None or self._work.draft.value is None:  # counted votes are worth more
            self._work.draft = StrategyAnswer(said.text, None, said.finish_reason)
        self._add("assistant", said.text)
        self._add("user", f"Observation: {complaint}")
        return []

    def observe(self, call: _Call, said: str) -> None:
        self._add("user", f"Observation: {said}")

    def _add(self, role: str, content: str) -> None:
        self._chat = [*self._chat, {"role": role, "content": content}]


class _ToolCallsDialogue:
    """OpenAI's protocol: a message calls tools, and one message for each call has its result."""

    def __init__(self, work: Work, messages: list[Message], toolbox: Toolbox) -> None:
        self._work = work
        self._tools = [tool.schema for tool in toolbox.tools.values()]
        self._chat = messages

    async def ask(self, step: int) -> _Final | Sequence[_Call]:
        before = self._work.usage.completion_tokens
        (said, *_) = await self._work.generate(self._chat, tools=self._tools)
        tokens = self._work.usage.completion_tokens - before
        if not said.calls:
            return _Final(said.text, said.finish_reason == "length")
        if said.text:
            await self._work.note("thought", said.text, tokens=tokens)
            tokens = 0
        calls = [_Call(f"call_{step}_{i}", c.name, c.arguments) for i, c in enumerate(said.calls[:MAX_CALLS])]
        for i, call in enumerate(calls):
            await self._work.note("action", call.arguments, name=call.name, tokens=tokens if i == 0 else 0)
        asked = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
        self._chat = [*self._chat, {"role": "assistant", "content": said.text or None, "tool_calls": asked}]
        return calls

    def observe(self, call: _Call, said: str) -> None:
        self._chat = [*self._chat, {"role": "tool", "tool_call_id": call.id, "content": said}]
