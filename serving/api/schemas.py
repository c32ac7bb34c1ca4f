"""Request bodies of the OpenAI-compatible API. Fields that OpenAI knows and we do not act on are ignored.

Source of names and ranges: OpenAI's API reference (chat completions, completions, embeddings, vector stores,
conversations).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from serving.api.schema_limits import BoundedSchema, Together
from serving.config import StrategyKind
from serving.security.approvals import MAX_ID
from serving.store.access import MAX_NAMES, Access
from serving.store.feedback import MAX_COMMENT, MAX_CORRECTION, MAX_TAG, MAX_TAGS
from serving.store.memories import MAX_TEXT

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Text = str
Metadata = Annotated[dict[str, str], Field(max_length=16)]


class Body(BaseModel):
    """Base of request bodies: values keep their JSON types (a string is no number)."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class TextPart(Body):
    """Text inside a message."""

    type: Literal["text"]
    text: Text


def _content_itself(value: Any) -> Any:
    if isinstance(value, str) and not value.startswith("data:"):
        raise ValueError("Send the content itself, as data:<type>;base64,<content>: nothing is fetched by its URL.")
    return value


DataUrl = Annotated[
    str,
    StringConstraints(pattern=r"^data:[a-z]+/[A-Za-z0-9.+-]+;base64,[A-Za-z0-9+/]*={0,2}$"),
    BeforeValidator(_content_itself),
]
"""A content itself, never its address: an engine would fetch it from inside the walls."""

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
Detail = Literal["low", "high", "auto", "original"]
FileId = Annotated[str, StringConstraints(max_length=128)]
FileName = Annotated[str, StringConstraints(max_length=256)]


class ImageUrl(Body):
    """An image."""

    url: DataUrl
    detail: Detail | None = None


class AudioData(Body):
    """A recording."""

    data: Base64
    format: str = Field(pattern=r"^[a-z0-9]{1,16}$")


class FileData(Body):
    """A document."""

    file_data: DataUrl | Base64 | None = None
    file_id: FileId | None = None
    filename: FileName | None = None


class OtherPart(Body):
    """What is no text inside a message: passed on to engines that take it."""


class ImagePart(OtherPart):
    """An image inside a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class AudioPart(OtherPart):
    """A recording inside a message."""

    type: Literal["input_audio"]
    input_audio: AudioData


class FilePart(OtherPart):
    """A document inside a message."""

    type: Literal["file"]
    file: FileData


Part = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]


class FunctionCall(Body):
    """A call that the model asked for."""

    name: str = Field(max_length=64)
    arguments: str


class ToolCall(Body):
    """A tool call of an assistant message."""

    id: str = Field(max_length=128)
    type: Literal["function"]
    function: FunctionCall


class Message(Body):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[Part], Field(fail_fast=True, max_length=1000)] | None = None
    name: str | None = Field(default=None, max_length=64)
    tool_calls: list[ToolCall] | None = Field(default=None, max_length=128)
    tool_call_id: str | None = Field(default=None, max_length=128)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.content is None and not self.tool_calls:
            raise ValueError("a message needs content")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool message needs a tool_call_id")
        return self

    @property
    def attaches(self) -> bool:
        """Whether it has parts that are no text."""
        return isinstance(self.content, list) and not all(isinstance(part, TextPart) for part in self.content)

    def text(self) -> str:
        """Returns the message's text without its other parts."""
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


Tools = Annotated[list[Tool], Field(fail_fast=True, max_length=128), Together]


class NamedFunction(Body):
    """A function by its name."""

    name: str = Field(max_length=64)


class NamedChoice(Body):
    """The function that the model must call."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Body):
    """A JSON Schema that the answer must satisfy."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = Field(default=None, max_length=20_000)
    schema_: BoundedSchema = Field(alias="schema")
    strict: bool | None = None


class TextFormat(Body):
    """Free text or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Body):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | SchemaFormat, Field(discriminator="type")]


class StreamOptions(Body):
    """What a stream carries beside its tokens."""

    include_usage: bool = False


class Sampling(Body):
    """What chat completions and completions share."""

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
    user: str | None = Field(default=None, max_length=512)

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

    Three fields are ours: what `conversation` holds comes before the messages, `strategy` is how to come
    to the answer, and `approvals` are ids of calls of tools that may be made.
    """

    messages: Annotated[list[Message], Field(fail_fast=True)] = Field(min_length=1)
    conversation: ConversationId | ConversationReference | None = None
    strategy: StrategyKind | None = None
    approvals: list[ApprovalId] | None = Field(
        default=None,
        max_length=16,
        description="of calls that wait, by the ids that an answer has in `headrace.approvals`",
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
    suffix: Annotated[str, StringConstraints(max_length=0)] | None = None


class EmbeddingRequest(Body):
    """`POST /v1/embeddings`."""

    model: ModelName
    input: Text | Annotated[list[Text], Field(fail_fast=True, min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = Field(default=None, max_length=512)


Attributes = Annotated[dict[str, str | float | bool | int], Field(max_length=16)]


class StaticChunking(Body):
    """Sizes of chunks, in tokens of the embedder; what is more than it reads is capped to that."""

    max_chunk_size_tokens: int = Field(ge=100, le=4096)
    chunk_overlap_tokens: int = Field(ge=0, le=2048)

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        if self.chunk_overlap_tokens > self.max_chunk_size_tokens // 2:
            raise ValueError("chunk_overlap_tokens must be at most half of max_chunk_size_tokens")
        return self


class AutoStrategy(Body):
    """Chunk sizes as the embedder likes them."""

    type: Literal["auto"]


class StaticStrategy(Body):
    """Chunk sizes as asked for."""

    type: Literal["static"]
    static: StaticChunking


ChunkingStrategy = Annotated[AutoStrategy | StaticStrategy, Field(discriminator="type")]


Names = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=256)]], Field(max_length=MAX_NAMES)]


class AccessList(Body):
    """Who may read something beside its owner: users and groups of the tenant."""

    users: Names = []
    groups: Names = []

    @property
    def stored(self) -> Access:
        return Access(self.users, self.groups)


class Listed(Body):
    """What has an access list, which is ours; null is everybody of the tenant."""

    access: AccessList | None = None

    @property
    def list_given(self) -> Access | Literal["unchanged"] | None:
        """The list, `unchanged` when the request says nothing of it."""
        if "access" not in self.model_fields_set:
            return "unchanged"
        return self.access.stored if self.access is not None else None


class VectorStoreRequest(Listed):
    """`POST /v1/vector_stores`."""

    name: str = Field(min_length=1, max_length=256)
    metadata: Metadata | None = None
    file_ids: list[FileId] | None = Field(default=None, max_length=500)


class VectorStoreUpdate(Listed):
    """`POST /v1/vector_stores/{id}`."""

    name: str | None = Field(default=None, min_length=1, max_length=256)
    metadata: Metadata | None = None


class VectorStoreFileRequest(Listed):
    """`POST /v1/vector_stores/{id}/files`."""

    file_id: str = Field(min_length=1, max_length=128)
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


class SearchRequest(Body):
    """`POST /v1/vector_stores/{id}/search`."""

    query: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    max_num_results: int = Field(default=10, ge=1, le=50)
    ranking_options: dict[str, Any] | None = Field(default=None, description="taken, and not used")
    rewrite_query: bool | None = Field(default=None, description="taken, and not used")


class InputText(Body):
    """Text of the user, or instructions."""

    type: Literal["input_text"]
    text: Text


class OutputText(Body):
    """Text of the assistant, with its citations."""

    type: Literal["output_text"]
    text: Text
    annotations: list[dict[str, Any]] = Field(default=[], max_length=1000)


class Refusal(Body):
    """Why the assistant did not answer."""

    type: Literal["refusal"]
    refusal: Text


class InputImage(Body):
    """An image, in a URL that holds it."""

    type: Literal["input_image"]
    image_url: DataUrl | None = None
    file_id: FileId | None = None
    detail: Detail = "auto"


class InputAudio(Body):
    """A recording."""

    type: Literal["input_audio"]
    input_audio: AudioData


class InputFile(Body):
    """A document."""

    type: Literal["input_file"]
    file_data: DataUrl | Base64 | None = None
    file_id: FileId | None = None
    filename: FileName | None = None
    file_url: str | None = Field(default=None, description="not supported")

    @field_validator("file_url", mode="before")
    @classmethod
    def _file_url(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("Nothing is fetched by its URL: send file_data.")
        return value


Content = Annotated[InputText | OutputText | Refusal | InputImage | InputAudio | InputFile, Field(discriminator="type")]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
CallId = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class MessageItem(Body):
    """A message of a conversation; a string as its content is one part of text."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    status: ItemStatus = "completed"
    content: Text | Annotated[list[Content], Field(fail_fast=True, max_length=1000)]

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if isinstance(self.content, str):
            assistant = self.role == "assistant"
            part = OutputText(type="output_text", text=self.content) if assistant else None
            self.content = [part or InputText(type="input_text", text=self.content)]
        return self


class FunctionCallItem(Body):
    """A call that the model asked for."""

    type: Literal["function_call"]
    call_id: CallId
    name: str = Field(min_length=1, max_length=64)
    arguments: str
    status: ItemStatus = "completed"


class FunctionCallOutputItem(Body):
    """What came of a call."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Text | Annotated[list[Content], Field(fail_fast=True, max_length=1000)]
    status: ItemStatus = "completed"


def item_type(value: Any) -> Any:
    """Returns the type of an item."""
    given = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", None)
    return given if isinstance(given, str) else None


ItemBody = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")],
    Discriminator(item_type),  # OpenAI's clients may leave the type of a message out
]


class ConversationRequest(Body):
    """`POST /v1/conversations`."""

    items: list[ItemBody] | None = Field(default=None, max_length=20)
    metadata: Metadata | None = None


class MetadataUpdate(Body):
    """`POST /v1/conversations/{id}` and `POST /v1/chat/completions/{id}`."""

    metadata: Metadata | None


class ConversationItemsRequest(Body):
    """`POST /v1/conversations/{id}/items`."""

    items: list[ItemBody] = Field(min_length=1, max_length=20)


class FeedbackTarget(Body):
    """What is rated: a completion, an item of a conversation, or a conversation."""

    type: Literal["response", "message", "session"]
    id: str = Field(min_length=1, max_length=128)


class FeedbackRequest(Body):
    """`POST /v1/feedback`."""

    id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    target: FeedbackTarget
    thumb: Literal["up", "down"] | None = None
    score: float | None = Field(default=None, ge=0, le=1)
    tags: list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG)]] = Field(
        default=[], max_length=MAX_TAGS
    )
    comment: str | None = Field(default=None, min_length=1, max_length=MAX_COMMENT)
    correction: str | None = Field(default=None, min_length=1, max_length=MAX_CORRECTION)
    rejected: str | None = Field(default=None, min_length=1, max_length=128)
    consent: bool = False


MemoryText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class MemoryRequest(Body):
    """`POST /v1/memories`, which is ours: a statement about oneself, for an assistant."""

    assistant: ModelName
    text: MemoryText


class MemoryUpdate(Body):
    """`POST /v1/memories/{id}`."""

    text: MemoryText


class ErasureRequest(Body):
    """`POST /v1/admin/erasures`; a field that is misspelt is refused, for `dry_run` could be meant."""

    model_config = ConfigDict(extra="forbid")

    user: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
    dry_run: bool = False
