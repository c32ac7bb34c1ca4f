"""ReAct: the model thinks, calls tools and reads what they say, until it answers.

Source: Yao et al. 2023, ReAct: Synergizing Reasoning and Acting in Language Models. The loop is LangChain's
`create_agent`; the model that it drives is ours, which speaks ReAct's text protocol or OpenAI's tool calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from langsmith import tracing_context
from pydantic import PrivateAttr

from serving.assistants.items import Message
from serving.assistants.strategies import answers, react_text, templates
from serving.assistants.strategies.work import StrategyAnswer, Work
from serving.assistants.tools.tool import MAX_OBSERVATION, PendingCall, Toolbox, shorten
from serving.config import React, ReactCotSc

MAX_CALLS = 16
"""Tool calls of one message that are looked at."""

_ARGUMENTS = {"type": "object", "properties": {"arguments": {"type": "string"}}, "required": ["arguments"]}


class NoAnswer(Exception):
    """The steps are used up."""


class _Waits(Exception):
    """Calls wait for approval."""

    def __init__(self, calls: Sequence[PendingCall]) -> None:
        super().__init__()
        self.calls = tuple(calls)


async def solve(
    work: Work, messages: list[Message], settings: React | ReactCotSc, toolbox: Toolbox
) -> StrategyAnswer | None:
    """Returns the answer, None when `settings.steps` do not lead to one.

    Where a call waits for approval, neither it nor another call of the same message is made, and the answer says so.
    """
    dialogue = _Dialogue(work, messages, settings, toolbox)
    agent = create_agent(_AgentModel(dialogue), _langchain(toolbox))
    try:
        # LangSmith would be sent all of this if only the environment said so.
        with tracing_context(enabled=False):
            state = await agent.ainvoke({"messages": [HumanMessage("")]}, {"recursion_limit": 2 * settings.steps + 8})
    except NoAnswer:
        return None
    except _Waits as e:
        return await _waiting(work, e.calls)
    text = str(state["messages"][-1].content)
    return StrategyAnswer(text, answers.value(text), "length" if dialogue.cut else "stop")


async def _waiting(work: Work, calls: tuple[PendingCall, ...]) -> StrategyAnswer:
    for call in calls:
        await work.note("approval", call.arguments, name=call.tool)
    names = ", ".join(dict.fromkeys(call.tool for call in calls))
    text = f"I have not called {names}: that waits for approval."
    return StrategyAnswer(text, None, pending=calls)


def _langchain(toolbox: Toolbox) -> list[BaseTool]:
    """Returns the tools as LangChain calls them: arguments stay the text that the model wrote, we read them."""

    def tool(name: str, description: str) -> BaseTool:
        async def call(arguments: str) -> str:
            return await toolbox.call(name, arguments)

        return StructuredTool(name=name, description=description, args_schema=_ARGUMENTS, coroutine=call)

    return [tool(t.name, t.description) for t in toolbox.tools.values()]


class _AgentModel(BaseChatModel):
    """A chat model for LangChain that goes on with a dialogue."""

    _dialogue: _Dialogue = PrivateAttr()

    def __init__(self, dialogue: _Dialogue) -> None:
        super().__init__(cache=False)
        self._dialogue = dialogue

    @property
    def _llm_type(self) -> str:
        return "headrace"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Returns itself: the dialogue knows the tools."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("ask with ainvoke")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=await self._dialogue.go_on(messages))])


class _Dialogue:
    """What the model is shown and says, in its own protocol; LangChain sees tool calls, their results, the answer."""

    def __init__(self, work: Work, messages: list[Message], settings: React | ReactCotSc, toolbox: Toolbox) -> None:
        self._work = work
        self._toolbox = toolbox
        self._left = settings.steps
        self.cut = False  # whether the answer was
        self._in_text = settings.protocol == "text"
        self._chat = messages
        if self._in_text:
            lines = "\n".join(tool.line for tool in toolbox.tools.values())
            self._chat = templates.ask(settings.react_template or templates.REACT, messages, tools=lines)

    async def go_on(self, messages: list[BaseMessage]) -> AIMessage:
        """Returns the model's next call or its answer; raises `NoAnswer` when it may not go on."""
        for i, message in enumerate(messages):
            if isinstance(message, ToolMessage) and not any(isinstance(m, AIMessage) for m in messages[i:]):
                await self._observe(message)
        while self._left > 0:
            self._left -= 1
            said = await (self._text() if self._in_text else self._tools())
            if said is not None:
                return said
        raise NoAnswer

    async def _observe(self, message: ToolMessage) -> None:
        text = shorten(str(message.content), MAX_OBSERVATION)  # LangChain's own words repeat what the model wrote
        await self._work.note("observation", text, name=message.name or "")
        if self._in_text:
            self._chat = [*self._chat, {"role": "user", "content": f"Observation: {text}"}]
        else:
            self._chat = [*self._chat, {"role": "tool", "tool_call_id": message.tool_call_id, "content": text}]

    async def _text(self) -> AIMessage | None:
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
                self.cut = said.finish_reason == "length"
                return AIMessage(answer)
            case react_text.Action(tool=tool, arguments=arguments, said=text):
                await self._work.note("action", arguments, name=tool, tokens=tokens)
                await self._await_approval([(tool, arguments)])
                self._chat = [*self._chat, {"role": "assistant", "content": text}]
                return _calls([(f"call_{self._left}", tool, arguments)])
        complaint = f"Error: {react_text.FORM}."
        await self._work.note("observation", complaint)
        if self._work.draft is None or self._work.draft.value is None:  # votes that were counted are worth more
            self._work.draft = StrategyAnswer(said.text, None, said.finish_reason)
        self._chat = [
            *self._chat,
            {"role": "assistant", "content": said.text},
            {"role": "user", "content": f"Observation: {complaint}"},
        ]
        return None

    async def _tools(self) -> AIMessage | None:
        before = self._work.usage.completion_tokens
        schemas = [tool.schema for tool in self._toolbox.tools.values()]
        (said, *_) = await self._work.generate(self._chat, tools=schemas)
        tokens = self._work.usage.completion_tokens - before
        if not said.calls:
            self.cut = said.finish_reason == "length"
            return AIMessage(said.text)
        if said.text:
            await self._work.note("thought", said.text, tokens=tokens)
            tokens = 0
        calls = [(f"call_{self._left}_{i}", c.name, c.arguments) for i, c in enumerate(said.calls[:MAX_CALLS])]
        for i, (_, name, arguments) in enumerate(calls):
            await self._work.note("action", arguments, name=name, tokens=tokens if i == 0 else 0)
        await self._await_approval([(name, arguments) for _, name, arguments in calls])
        asked = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id, name, arguments in calls
        ]
        self._chat = [*self._chat, {"role": "assistant", "content": said.text or None, "tool_calls": asked}]
        return _calls(calls)

    async def _await_approval(self, calls: Sequence[tuple[str, str]]) -> None:
        if pending := await self._toolbox.pending(calls):
            raise _Waits(pending)


def _calls(calls: Sequence[tuple[str, str, str]]) -> AIMessage:
    return AIMessage(
        "", tool_calls=[{"id": id, "name": name, "args": {"arguments": arguments}} for id, name, arguments in calls]
    )
