"""Request bodies of the Responses API.

Source of names and ranges: OpenAI's API reference (responses).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, field_validator

from serving.config import StrategyKind
from serving.protocol.chat import ApprovalId, ConversationId, ConversationReference, Function, JsonSchema, TextFormat
from serving.protocol.conversations import (
    FunctionCallItem,
    FunctionCallOutputItem,
    MessageItem,
    ReturnedItem,
    item_type,
)
from serving.protocol.json_schema_limits import WithinPartsBudget
from serving.protocol.knowledge import FileSearchChoice, FileSearchTool
from serving.protocol.parts import (
    Body,
    CacheOption,
    Echoed,
    EndUser,
    Ignored,
    Metadata,
    ModelName,
    Moderation,
    Refused,
    SameForAnswers,
    ServiceTier,
    Text,
)
from serving.protocol.prompts.requests import PromptReference

ResponseId = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class ReasoningItem(ReturnedItem):
    """Reasoning of a model, or a step of a strategy. It is neither in later prompts nor stored again."""

    type: Literal["reasoning"]
    content: Echoed = None
    encrypted_content: Echoed = None
    status: Echoed = None
    summary: Echoed = None


class ItemReference(Body):
    """A reference to an item in the output of a stored response, by its id."""

    type: Literal["item_reference"]
    id: str = Field(min_length=1, max_length=64)


class FileSearchCallItem(ReturnedItem):
    """A search for an earlier answer. It is treated like reasoning."""

    type: Literal["file_search_call"]
    queries: Echoed = None
    results: Echoed = None
    status: Echoed = None


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")]
    | Annotated[FileSearchCallItem, Tag("file_search_call")],
    Discriminator(item_type),
]


Input = Annotated[
    Annotated[Text, Tag("a string")] | Annotated[list[InputItem], Field(fail_fast=True, min_length=1), Tag("a list")],
    # Error messages refer to that one.
    Discriminator(lambda value: "a list" if isinstance(value, list) else "a string"),
]


class FunctionTool(Function):
    """A function that the model may call."""

    type: Literal["function"]
    allowed_callers: Annotated[
        Annotated[list[Literal["direct"]], Field(min_length=1, max_length=1)] | None,
        Field(exclude=True),
        Refused("Only the model calls functions: leave it out, or use direct."),
    ] = None
    asynchronous: Annotated[
        Literal[False] | None, Refused("The model waits for the result of each call: leave async out.")
    ] = Field(default=None, alias="async", exclude=True)
    defer_loading: Annotated[Any, Field(exclude=True), Ignored("the model is shown all functions at once")] = None
    output_schema: Annotated[Any, Field(exclude=True), Ignored("the result is passed on as it is")] = None


def _known_type(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") not in ("function", "file_search"):
        raise ValueError("Only tools of the types function and file_search are supported.")
    return value


ResponseTool = Annotated[FunctionTool | FileSearchTool, Field(discriminator="type"), BeforeValidator(_known_type)]


class FunctionChoice(Body):
    """The function that the model must call."""

    type: Literal["function"]
    name: str = Field(max_length=64)


class SchemaTextFormat(JsonSchema):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]


class TextOptions(Body):
    """Options of the answer's text."""

    format: Annotated[TextFormat | SchemaTextFormat, Field(discriminator="type")] | None = None
    verbosity: Annotated[
        Literal["medium"] | None, Refused("The verbosity cannot be set here: ask for it in the input.")
    ] = None


class ReasoningOptions(Body):
    """Reasoning options, which cannot be set here. Steps of a strategy are always reasoning items."""

    effort: Annotated[
        Literal["none"] | None, Refused("The reasoning effort cannot be set here: leave it out, or use none.")
    ] = None
    context: Annotated[
        Literal["auto", "current_turn"] | None, Refused("Later prompts do not contain the reasoning of earlier turns.")
    ] = None
    mode: Annotated[Literal["standard"] | None, Refused("The mode of reasoning cannot be set here: leave it out.")] = (
        None
    )
    summary: SameForAnswers = None
    generate_summary: SameForAnswers = None


class ResponseStreamOptions(Body):
    """What a stream contains in addition to its events."""

    include_obfuscation: Annotated[Any, Ignored("streams are not padded to hide the sizes of their chunks")] = None


class ResponseRequest(Body):
    """`POST /v1/responses`."""

    model: ModelName
    input: Input
    instructions: Text | None = None
    stream: bool = False
    store: bool | None = None  # None means true, but does not give consent to more
    background: bool | None = None
    previous_response_id: ResponseId | None = None
    conversation: ConversationId | ConversationReference | None = None
    strategy: StrategyKind | None = None
    approvals: list[ApprovalId] | None = Field(default=None, max_length=16)
    prompt: PromptReference | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_logprobs: Annotated[
        Annotated[int, Field(ge=0, le=0)] | None,
        Refused("Log probabilities are not supported here: ask for a chat completion."),
    ] = None
    tools: Annotated[list[ResponseTool], Field(fail_fast=True, max_length=128), WithinPartsBudget] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | FileSearchChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    metadata: Metadata | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[Annotated[str, StringConstraints(max_length=64)]] | None = Field(default=None, max_length=16)

    reasoning: ReasoningOptions | None = None
    max_tool_calls: Annotated[
        None, Refused("Calls of an assistant's tools are limited by its strategy: leave max_tool_calls out.")
    ] = None
    context_management: Annotated[
        Annotated[list[Any], Field(max_length=0)] | None,
        Refused("The assistant's `memory` determines the earlier turns in the prompt."),
    ] = None
    personality: Annotated[None, Refused("Describe in the instructions how the model should answer.")] = None
    moderation: Moderation = None
    access_programs: Annotated[None, Refused("There are no access programs here.")] = None
    background_options: Annotated[None, Refused("Options of background responses are not supported.")] = None
    image: Annotated[None, Refused("The size of pictures cannot be set for a request.")] = None
    prompt_cache_key: CacheOption = None
    prompt_cache_options: CacheOption = None
    prompt_cache_retention: CacheOption = None
    safety_identifier: SameForAnswers = None
    service_tier: ServiceTier = None
    stream_options: ResponseStreamOptions | None = None
    user: EndUser = None

    @property
    def keeps(self) -> bool:
        """Whether the response is stored."""
        return self.store is not False

    @property
    def functions(self) -> list[FunctionTool]:
        """The functions among its tools."""
        return [tool for tool in self.tools or () if isinstance(tool, FunctionTool)]

    @property
    def file_search(self) -> FileSearchTool | None:
        """The search among its tools, None if it selects no tool."""
        if self.tool_choice == "none":
            return None
        return next((tool for tool in self.tools or () if isinstance(tool, FileSearchTool)), None)

    @property
    def conversation_id(self) -> str | None:
        """The conversation that it belongs to."""
        given = self.conversation
        return given.id if isinstance(given, ConversationReference) else given

    @field_validator("stream", mode="before")
    @classmethod
    def _stream(cls, value: Any) -> Any:
        return False if value is None else value

    @field_validator("tools")
    @classmethod
    def _tools(cls, value: list[FunctionTool | FileSearchTool] | None) -> list[FunctionTool | FileSearchTool] | None:
        if sum(isinstance(tool, FileSearchTool) for tool in value or ()) > 1:
            raise ValueError("A single tool of the type file_search must name all vector stores.")
        return value

    @field_validator("include")
    @classmethod
    def _include(cls, value: list[str] | None) -> list[str] | None:
        if value and "message.output_text.logprobs" in value:
            raise ValueError("Log probabilities are not supported here: ask for a chat completion.")
        return value
