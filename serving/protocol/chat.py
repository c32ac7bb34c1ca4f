"""Requests of chat completions and completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from serving.config import Limits, StrategyKind
from serving.protocol.errors import invalid
from serving.protocol.json_schema_limits import BoundedSchema, WithinPartsBudget
from serving.protocol.knowledge import Knowledge
from serving.protocol.parts import (
    Body,
    CacheMark,
    CacheOption,
    Echoed,
    EndUser,
    Ignored,
    LogitBias,
    Metadata,
    ModelName,
    Moderation,
    Part,
    Refused,
    SameForAnswers,
    ServiceTier,
    Stop,
    Text,
    TextPart,
)
from serving.security.approvals import MAX_ID


class FunctionCall(Body):
    """A call that the model asked for."""

    name: str = Field(max_length=64)
    arguments: str
    parsed_arguments: Echoed = None


class ToolCall(Body):
    """A tool call in an assistant message."""

    id: str = Field(max_length=128)
    type: Literal["function"]
    function: FunctionCall
    index: Echoed = None
    provider_specific_fields: Echoed = None


class Message(Body):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[Part], Field(fail_fast=True, max_length=1000)] | None = None
    name: str | None = Field(default=None, max_length=64)
    tool_calls: list[ToolCall] | None = Field(default=None, max_length=128)
    tool_call_id: str | None = Field(default=None, max_length=128)

    annotations: Echoed = None
    audio: Annotated[None, Field(exclude=True), Refused("There is no earlier audio here: send its text.")] = None
    function_call: Annotated[
        None, Field(exclude=True), Refused("Send calls as tool_calls: OpenAI replaced this field.")
    ] = None
    headrace: Echoed = None
    parsed: Echoed = None
    provider_specific_fields: Echoed = None
    reasoning: Echoed = None
    reasoning_content: Echoed = None
    refusal: Echoed = None
    cache_control: CacheMark = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.content is None and not self.tool_calls:
            raise ValueError("a message needs content")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool message needs a tool_call_id")
        return self

    @property
    def attaches(self) -> bool:
        """Whether it has parts other than text."""
        return isinstance(self.content, list) and not all(isinstance(part, TextPart) for part in self.content)

    def text(self) -> str:
        """Returns the message's text without other parts."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(p.text for p in self.content or () if isinstance(p, TextPart))


class Function(Body):
    """A function that the model may call."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = Field(default=None, max_length=20_000)
    parameters: BoundedSchema | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function
    cache_control: CacheMark = None


Tools = Annotated[list[Tool], Field(fail_fast=True, max_length=128), WithinPartsBudget]


class NamedFunction(Body):
    """A function by its name."""

    name: str = Field(max_length=64)


class NamedChoice(Body):
    """The function that the model must call."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Body):
    """A JSON Schema that the answer must match."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = Field(default=None, max_length=20_000)
    schema_: BoundedSchema = Field(alias="schema")
    strict: bool | None = None


class TextFormat(Body):
    """Free text or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Body):
    """JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | SchemaFormat, Field(discriminator="type")]


class StreamOptions(Body):
    """What a stream contains in addition to its tokens."""

    include_usage: bool = False
    include_obfuscation: Annotated[Any, Ignored("nothing is added to a stream to hide the sizes of its pieces")] = None


class Sampling(Body):
    """Fields that chat completions and completions share."""

    model: ModelName
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=-(2**31), lt=2**32)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    user: EndUser = None
    logit_bias: LogitBias = None

    @field_validator("stream", mode="before")
    @classmethod
    def _stream(cls, value: Any) -> Any:
        return False if value is None else value

    @model_validator(mode="after")
    def _stream_options(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream to be true")
        return self


ConversationId = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class ConversationReference(Body):
    """A conversation by its id."""

    id: ConversationId


ApprovalId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]


class ChatRequest(Sampling):
    """`POST /v1/chat/completions`.

    Four fields are not OpenAI's: `conversation` provides earlier messages, `knowledge` is searched for the question,
    `strategy` selects how to find the answer, and `approvals` are ids of approved tool calls.
    """

    messages: Annotated[list[Message], Field(fail_fast=True)] = Field(min_length=1)
    conversation: ConversationId | ConversationReference | None = None
    knowledge: Knowledge | None = None
    strategy: StrategyKind | None = None
    approvals: list[ApprovalId] | None = Field(
        default=None,
        max_length=16,
        description="ids of approved calls, from an answer's `headrace.approvals`",
    )
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    parallel_tool_calls: bool | None = None
    audio: Annotated[None, Refused("No model here generates audio.")] = None
    modalities: Annotated[list[Literal["text"]] | None, Refused("Models here generate text only.")] = None
    functions: Annotated[
        Annotated[list[Any], Field(max_length=0)] | None,
        Refused("Send functions as tools: OpenAI replaced this field."),
    ] = None
    function_call: Annotated[
        Literal["auto", "none"] | None, Refused("Send tool_choice: OpenAI replaced this field.")
    ] = None
    reasoning_effort: Annotated[
        Literal["none"] | None, Refused("The reasoning effort cannot be set here: leave it out, or use none.")
    ] = None
    verbosity: Annotated[
        Literal["medium"] | None, Refused("The verbosity cannot be set here: ask for it in the messages.")
    ] = None
    web_search_options: Annotated[None, Refused("There is no web search here.")] = None
    moderation: Moderation = None
    prediction: Annotated[Any, Ignored("it makes answers of OpenAI arrive sooner, and does not change them")] = None
    prompt_cache_key: CacheOption = None
    prompt_cache_options: CacheOption = None
    prompt_cache_retention: CacheOption = None
    safety_identifier: SameForAnswers = None
    service_tier: ServiceTier = None

    @model_validator(mode="after")
    def _logprobs(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        return self


class CompletionRequest(Sampling):
    """`POST /v1/completions`."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=64)]
    max_tokens: int | None = Field(default=16, ge=1, lt=2**31)
    logprobs: int | None = Field(default=None, ge=0, le=5)
    suffix: Annotated[
        Annotated[str, StringConstraints(max_length=0)] | None, Refused("Models here only continue texts at their end.")
    ] = None
    echo: Annotated[
        Literal[False] | None, Refused("The prompt cannot be echoed: put it before the answer yourself.")
    ] = None
    best_of: Annotated[
        Annotated[int, Field(ge=1, le=1)] | None, Refused("Each choice is generated once: ask for n and select one.")
    ] = None


def check_tool_choice(body: ChatRequest) -> None:
    """Raises `ApiError` for a choice of tools that are not there."""
    names = {tool.function.name for tool in body.tools or ()}
    if isinstance(body.tool_choice, NamedChoice) and body.tool_choice.function.name not in names:
        raise invalid("tool_choice names a function that is not one of the tools.", "tool_choice.function.name")
    if body.tool_choice == "required" and not names:
        raise invalid("tool_choice is required, and there are no tools.", "tool_choice")


def check_size(body: ChatRequest, limits: Limits) -> None:
    """Raises `ApiError` for input beyond the limits, before anything is tokenised."""
    if len(body.messages) > limits.messages:
        raise invalid(f"More than {limits.messages} messages.", "messages", "too_many_messages")
    size = 0
    for message in body.messages:
        content = message.content
        size += len(content) if isinstance(content, str) else len(message.text())
        size += sum(len(call.function.arguments) for call in message.tool_calls or ())
    if size > limits.characters:
        raise invalid(f"The messages have more than {limits.characters} characters.", "messages", "too_long")
    if body.n is not None and body.n > limits.n:
        raise invalid(f"n is at most {limits.n}.", "n")
    if body.conversation is not None and (body.n or 1) > 1:
        raise invalid("A conversation continues with one answer: n must be 1.", "n")
