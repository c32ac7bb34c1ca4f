"""The chat of a message's request, with the places of its parts in the request."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from mimetypes import guess_extension
from typing import Any

import orjson

from serving.config import Limits
from serving.protocol.chat import ChatRequest, check_size, check_tool_choice
from serving.protocol.errors import ApiError, invalid
from serving.protocol.messages.requests import (
    AnyChoice,
    Base64Source,
    Block,
    DocumentBlock,
    FileSource,
    ImageBlock,
    InputMessage,
    MessagesRequest,
    NamedToolChoice,
    NoToolChoice,
    RedactedThinkingBlock,
    TextBlock,
    TextSource,
    ThinkingBlock,
    TokenCountRequest,
    ToolResultBlock,
    ToolUseBlock,
)
from serving.protocol.validation import validate

_ALLOWED: Mapping[str, tuple[type, ...]] = {
    "user": (TextBlock, ImageBlock, DocumentBlock, ToolResultBlock),
    "assistant": (TextBlock, ToolUseBlock, ThinkingBlock, RedactedThinkingBlock),
    "system": (TextBlock,),
}
"""The blocks of each role's messages."""

_SAME = ("model", "stream", "temperature", "top_p", "max_tokens", "store", "strategy", "approvals")
"""Fields with the same name and meaning in a chat."""

_PLACES = {
    "stop": "stop_sequences",
    "response_format.json_schema.schema": "output_config.format.schema",
    "response_format": "output_config.format",
    "tool_choice.function": "tool_choice",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
"""Fields of a chat, and of a message's request."""


class MessageChat:
    """A message's request as a chat. `stops` are its stop sequences. Raises `ApiError` for contradictions in it."""

    def __init__(self, body: TokenCountRequest, limits: Limits) -> None:
        self.stops: Sequence[str] = ()
        self._places = dict(_PLACES)
        self._messages: list[dict[str, Any]] = []
        self._waiting: dict[str, str] = {}  # ids of calls without a result, and where they are
        self._instruct(body.system)
        for n, message in enumerate(body.messages):
            self._add(message, f"messages[{n}]", goes_on=n == 0 and body.conversation is not None)
        if self._waiting:
            raise _unanswered(self._waiting)
        if body.messages[-1].role == "assistant":
            raise invalid(
                "The last message must not be the assistant's: no model here continues the text of a message.",
                f"messages[{len(body.messages) - 1}].role",
            )
        document = {"messages": self._messages, **self._tools(body), **self._options(body)}
        with self.naming_fields():
            self.body = validate(ChatRequest, {name: value for name, value in document.items() if value is not None})
            check_size(self.body, limits)
            check_tool_choice(self.body)

    @contextmanager
    def naming_fields(self) -> Iterator[None]:
        """Renames the fields of errors from inside, which are a chat's, to those of the request."""
        try:
            yield
        except ApiError as e:
            e.param = self._place(e.param)
            raise

    def _place(self, param: str | None) -> str | None:
        """Returns a place in the request for one in the chat."""
        if param is None:
            return None
        ends = [n for n, character in enumerate(param) if character in ".["]
        for end in (len(param), *reversed(ends)):
            if (place := self._places.get(param[:end])) is not None:
                return place + param[end:]
        return param

    def _say(self, message: dict[str, Any], place: str) -> str:
        """Adds a message of the chat, which stands at `place` in the request; returns its place in the chat."""
        here = f"messages[{len(self._messages)}]"
        self._messages.append(message)
        self._places[here] = place
        return here

    def _instruct(self, system: str | list[TextBlock] | None) -> None:
        if not system:
            return
        here = self._say({"role": "system", "content": system}, "system")
        self._places |= {f"{here}.{name}": "system" for name in ("role", "content")}
        if not isinstance(system, str):
            self._messages[-1]["content"] = self._parts(list(enumerate(system)), here, "system")

    def _add(self, message: InputMessage, at: str, *, goes_on: bool) -> None:
        """Adds a message at its place. With `goes_on`, results may be of calls of the conversation."""
        content = message.content
        blocks: Sequence[Block] = [] if isinstance(content, str) else content
        for n, block in enumerate(blocks):
            if not isinstance(block, _ALLOWED[message.role]):
                raise invalid(
                    f"A message with the role {message.role} has no block of the type {block.type}.",
                    f"{at}.content[{n}].type",
                )
        results = [block for block in blocks if isinstance(block, ToolResultBlock)]
        for n, block in enumerate(results):
            if blocks[n] is not block:
                raise invalid("Results of tools come before all other content of a message.", f"{at}.content[{n}].type")
            self._add_result(block, f"{at}.content[{n}]", goes_on=goes_on)
        if self._waiting:
            raise _unanswered(self._waiting)
        if message.role == "assistant":
            self._add_answer(content, at)
        elif len(results) < len(blocks) or isinstance(content, str):
            here = self._say({"role": message.role, "content": content}, at)
            if not isinstance(content, str):
                rest = list(enumerate(blocks))[len(results) :]
                self._messages[-1]["content"] = self._parts(rest, here, f"{at}.content")

    def _add_result(self, block: ToolResultBlock, at: str, *, goes_on: bool) -> None:
        if self._waiting.pop(block.tool_use_id, None) is None and not goes_on:
            raise invalid("The message before has no call with this id that waits for its result.", f"{at}.tool_use_id")
        given = block.content or ""
        here = self._say({"role": "tool", "tool_call_id": block.tool_use_id}, at)
        shown: Any = given
        if not isinstance(given, str):
            shown = self._parts(list(enumerate(given)), here, f"{at}.content")
        if block.is_error and isinstance(shown, str):
            shown = f"Error: {shown}"
        elif block.is_error:
            shown = [{"type": "text", "text": f"Error: {shown[0]['text']}"}, *shown[1:]]
        self._messages[-1]["content"] = shown

    def _add_answer(self, content: str | Sequence[Block], at: str) -> None:
        if isinstance(content, str):
            self._say({"role": "assistant", "content": content}, at)
            return
        here = self._say({"role": "assistant"}, at)
        texts = [(n, block) for n, block in enumerate(content) if isinstance(block, TextBlock)]
        calls = [(n, block) for n, block in enumerate(content) if isinstance(block, ToolUseBlock)]
        if texts or not calls:
            self._messages[-1]["content"] = self._parts(texts, here, f"{at}.content")
        for k, (n, block) in enumerate(calls):
            if block.id in self._waiting:
                raise invalid("Another call of this message has the same id.", f"{at}.content[{n}].id")
            self._waiting[block.id] = f"{at}.content[{n}].id"
            function = {"name": block.name, "arguments": orjson.dumps(block.input).decode()}
            call = {"id": block.id, "type": "function", "function": function}
            self._messages[-1].setdefault("tool_calls", []).append(call)
            there = f"{here}.tool_calls[{k}]"
            self._places |= dict.fromkeys((there, f"{there}.function"), f"{at}.content[{n}]")
            self._places[f"{there}.function.arguments"] = f"{at}.content[{n}].input"

    def _parts(self, blocks: Sequence[tuple[int, Block]], here: str, at: str) -> str | list[dict[str, Any]]:
        """Returns blocks, with their numbers in the list `at`, as the content of the message `here`.

        A single text is a string, which every engine accepts.
        """
        if not blocks:
            return ""
        if len(blocks) == 1 and isinstance(block := blocks[0][1], TextBlock):
            self._places[f"{here}.content"] = f"{at}[{blocks[0][0]}].text"
            return block.text
        for k, (n, _) in enumerate(blocks):
            self._places[f"{here}.content[{k}]"] = f"{at}[{n}]"
        return [_part(block) for _, block in blocks]

    def _tools(self, body: TokenCountRequest) -> dict[str, Any]:
        tools = []
        for n, tool in enumerate(body.tools or ()):
            function = {"name": tool.name, "description": tool.description, "strict": tool.strict}
            function = {name: value for name, value in function.items() if value is not None}
            tools.append({"type": "function", "function": {**function, "parameters": tool.input_schema}})
            self._places |= {f"tools[{n}].function": f"tools[{n}]"}
            self._places[f"tools[{n}].function.parameters"] = f"tools[{n}].input_schema"
        choice, parallel = body.tool_choice, None
        asked: str | dict[str, Any] | None = None
        if isinstance(choice, NamedToolChoice):
            asked = {"type": "function", "function": {"name": choice.name}}
        elif isinstance(choice, AnyChoice):
            asked = "required"
        elif tools and choice is not None:
            asked = choice.type
        if tools and not isinstance(choice, NoToolChoice | None) and choice.disable_parallel_tool_use:
            parallel = False
        return {"tools": tools or None, "tool_choice": asked, "parallel_tool_calls": parallel}

    def _options(self, body: TokenCountRequest) -> dict[str, Any]:
        given = {name: getattr(body, name, None) for name in _SAME}
        for name in ("conversation", "knowledge"):
            value = getattr(body, name)
            given[name] = value if value is None or isinstance(value, str) else value.model_dump(exclude_none=True)
        if isinstance(body, MessagesRequest):
            self.stops = body.stop_sequences or ()
            given["stop"] = list(self.stops) or None
        asked = body.output_config.format if body.output_config is not None else None
        if asked is not None:
            schema = {"name": "answer", "schema": asked.schema_, "strict": True}
            given["response_format"] = {"type": "json_schema", "json_schema": schema}
        return given


def _part(block: Block) -> dict[str, Any]:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    if isinstance(block, ImageBlock):
        return {"type": "image_url", "image_url": {"url": _data_url(block.source)}}
    if not isinstance(block, DocumentBlock):
        raise AssertionError("the content of a message has no other blocks")
    source = block.source
    if isinstance(source, FileSource):
        return {"type": "file", "file": {"file_id": source.file_id}}
    file = {"file_data": _data_url(source)}
    if block.title is not None:
        ending = guess_extension(source.media_type) or ""  # by which the format is known
        file["filename"] = block.title if block.title.endswith(ending) else f"{block.title}{ending}"
    return {"type": "file", "file": file}


def _data_url(source: Base64Source | TextSource) -> str:
    data = source.data if isinstance(source, Base64Source) else b64encode(source.data.encode(errors="replace")).decode()
    return f"data:{source.media_type};base64,{data}"


def _unanswered(waiting: Mapping[str, str]) -> ApiError:
    return invalid("The next message has no tool_result for this call.", next(iter(waiting.values())))
