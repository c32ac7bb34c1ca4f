"""Request bodies of the Messages API.

Source of names and ranges: Anthropic's API reference (messages), and its SDK for Python.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from serving.config import StrategyKind
from serving.protocol.chat import ApprovalId, ConversationId, ConversationReference
from serving.protocol.json_schema_limits import BoundedSchema, WithinPartsBudget
from serving.protocol.knowledge import Knowledge
from serving.protocol.parts import (
    Base64,
    Body,
    CacheMark,
    CacheOption,
    Echoed,
    EndUser,
    FileId,
    FileName,
    Ignored,
    ModelName,
    Refused,
    Stop,
    Text,
)

CallId = Annotated[str, StringConstraints(min_length=1, max_length=128)]

NoToolset = Annotated[None, Refused("There are no toolsets here.")]


def _content_itself(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "url":
        raise ValueError("Send the content itself, as base64: URLs are not fetched.")
    return value


def _unthreaded(value: Any) -> Any:
    if value is not None:
        # Never left out: a message that continues a thread is only the newest one.
        raise ValueError("Threads are not kept here: send all messages, or name a conversation.")
    return value


class TextBlock(Body):
    """Text inside a message, in the instructions, or in the result of a tool."""

    type: Literal["text"]
    text: Text
    cache_control: CacheMark = None
    citations: Echoed = None


class Base64Source(Body):
    """The content of a picture or a document."""

    type: Literal["base64"]
    media_type: str = Field(pattern=r"^[a-z]+/[A-Za-z0-9.+-]+$", max_length=128)
    data: Base64


class TextSource(Body):
    """The text of a document."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: Text


class FileSource(Body):
    """An uploaded file."""

    type: Literal["file"]
    file_id: FileId


class ImageBlock(Body):
    """A picture inside a message."""

    type: Literal["image"]
    source: Annotated[Base64Source, BeforeValidator(_content_itself)]
    transformations: Annotated[None, Refused("The model is given pictures as they are.")] = None
    cache_control: CacheMark = None


class WithoutCitations(Body):
    """Whether a document is cited, which cannot be enabled here."""

    enabled: Literal[False] | None = None


class DocumentBlock(Body):
    """A document inside a message, which is given to the model as text."""

    type: Literal["document"]
    source: Annotated[
        Base64Source | TextSource | FileSource, Field(discriminator="type"), BeforeValidator(_content_itself)
    ]
    title: FileName | None = None
    context: Annotated[None, Refused("Write what the model should know about a document as text beside it.")] = None
    citations: Annotated[
        WithoutCitations | None,
        Refused("Passages of attached documents are not cited: search a vector store, by the field knowledge."),
    ] = None
    cache_control: CacheMark = None


class ToolUseBlock(Body):
    """A call that the model asked for."""

    type: Literal["tool_use"]
    id: CallId
    name: str = Field(min_length=1, max_length=64)
    input: dict[str, Any]
    cache_control: CacheMark = None
    caller: Echoed = None
    toolset_name: NoToolset = None


class ToolResultBlock(Body):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: CallId
    content: Text | Annotated[list[TextBlock], Field(fail_fast=True, max_length=1000)] | None = None
    is_error: bool | None = None
    cache_control: CacheMark = None
    toolset_name: NoToolset = None


class ThinkingBlock(Body):
    """Reasoning of a model, or steps of a strategy. It is not in later prompts."""

    type: Literal["thinking"]
    thinking: Echoed = None
    signature: Echoed = None


class RedactedThinkingBlock(Body):
    """Reasoning that cannot be read. It is not in later prompts."""

    type: Literal["redacted_thinking"]
    data: Echoed = None


Block = Annotated[
    TextBlock | ImageBlock | DocumentBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock,
    Field(discriminator="type"),
]


class InputMessage(Body):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Text | Annotated[list[Block], Field(fail_fast=True, min_length=1, max_length=1000)]


def _own_tool(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type", "custom") not in (None, "custom"):
        raise ValueError("Only tools of the type custom are supported: Anthropic's own tools are not here.")
    return value


class CustomTool(Body):
    """A tool that the model may call."""

    type: Literal["custom"] | None = None
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = Field(default=None, max_length=20_000)
    input_schema: BoundedSchema
    strict: bool | None = None
    cache_control: CacheMark = None
    allowed_callers: Annotated[
        Annotated[list[Literal["direct"]], Field(min_length=1, max_length=1)] | None,
        Refused("Tools are called by the model alone: leave it out, or use direct."),
    ] = None
    defer_loading: Annotated[Any, Ignored("the model is shown all tools at once")] = None
    eager_input_streaming: Annotated[Any, Ignored("the pieces of a call are sent as the engine sends them")] = None
    input_examples: Annotated[
        Annotated[list[Any], Field(max_length=0)] | None,
        Refused("Describe examples of a call in the description of the tool."),
    ] = None


class AutomaticChoice(Body):
    """The model decides whether it calls tools."""

    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Body):
    """The model must call a tool."""

    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class NamedToolChoice(Body):
    """The tool that the model must call."""

    type: Literal["tool"]
    name: str = Field(max_length=64)
    disable_parallel_tool_use: bool | None = None


class NoToolChoice(Body):
    """The model must not call tools."""

    type: Literal["none"]


ToolChoice = Annotated[AutomaticChoice | AnyChoice | NamedToolChoice | NoToolChoice, Field(discriminator="type")]


class JsonOutput(Body):
    """JSON that matches a schema."""

    type: Literal["json_schema"]
    schema_: BoundedSchema = Field(alias="schema")


class OutputConfig(Body):
    """Options of the answer."""

    format: JsonOutput | None = None
    effort: Annotated[None, Refused("The effort cannot be set here: leave it out.")] = None
    task_budget: Annotated[None, Refused("The tokens of a task are not limited: set max_tokens.")] = None


class WithoutThinking(Body):
    """Whether the model thinks, which cannot be set here."""

    type: Literal["disabled"]


class EndUserMetadata(Body):
    """Describes the request."""

    user_id: EndUser = None


class TokenCountRequest(Body):
    """`POST /v1/messages/count_tokens`: the input of a message.

    Four fields are not Anthropic's: `conversation` provides earlier messages, `knowledge` is searched for the question,
    `strategy` selects how to find the answer, and `approvals` are ids of approved tool calls.
    """

    model: ModelName
    messages: Annotated[list[InputMessage], Field(fail_fast=True, min_length=1)]
    system: Text | Annotated[list[TextBlock], Field(fail_fast=True, max_length=1000)] | None = None
    tools: (
        Annotated[
            list[Annotated[CustomTool, BeforeValidator(_own_tool)]],
            Field(fail_fast=True, max_length=128),
            WithinPartsBudget,
        ]
        | None
    ) = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    thinking: Annotated[
        WithoutThinking | None,
        Refused("Thinking cannot be set here: leave it out, or disable it. A strategy's steps are always told."),
    ] = None
    cache_control: CacheOption = None
    speed: Annotated[Literal["standard"] | None, Refused("The speed cannot be set here: leave it out.")] = None
    conversation: ConversationId | ConversationReference | None = None
    knowledge: Knowledge | None = None
    strategy: StrategyKind | None = None
    approvals: list[ApprovalId] | None = Field(
        default=None,
        max_length=16,
        description="ids of approved calls, from an answer's `headrace.approvals`",
    )


class MessagesRequest(TokenCountRequest):
    """`POST /v1/messages`.

    Five fields are not Anthropic's: those of the input, and `store`, as that of a chat. `thread` is one of its beta.
    """

    max_tokens: int = Field(ge=1, lt=2**31)
    stream: bool = False
    stop_sequences: Annotated[list[Stop], Field(max_length=4)] | None = None
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: Annotated[None, Refused("Sampling cannot be limited to some tokens here: use top_p.")] = None
    metadata: EndUserMetadata | None = None
    service_tier: Annotated[
        Literal["auto", "standard_only"] | None, Ignored("all requests are served with the tier `standard`")
    ] = None
    container: Annotated[None, Refused("There are no containers here.")] = None
    diagnostics: Annotated[Any, Ignored("no answer depends on it")] = None
    inference_geo: Annotated[None, Refused("The stack itself determines where requests are answered.")] = None
    store: bool | None = None
    thread: Annotated[None, BeforeValidator(_unthreaded)] = None

    @field_validator("stream", mode="before")
    @classmethod
    def _stream(cls, value: Any) -> Any:
        return False if value is None else value
