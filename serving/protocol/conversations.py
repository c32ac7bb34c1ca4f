"""Items of conversations, and requests about them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, field_validator, model_validator

from serving.core import url
from serving.protocol.parts import (
    AudioData,
    Base64,
    Body,
    CacheMark,
    DataUrl,
    Detail,
    Echoed,
    FileId,
    FileName,
    Ignored,
    Metadata,
    Text,
)

DEFAULT_SHARE_S = 30 * 86_400
MAX_SHARE_S = 365 * 86_400
"""How long a share of a conversation lasts, by default and at most."""


class InputText(Body):
    """Text of the user, or instructions."""

    type: Literal["input_text"]
    text: Text
    prompt_cache_breakpoint: CacheMark = None


class OutputText(Body):
    """Text of the assistant, with its citations."""

    type: Literal["output_text"]
    text: Text
    annotations: list[dict[str, Any]] = Field(default=[], max_length=1000)
    logprobs: Echoed = None
    parsed: Echoed = None

    @field_validator("annotations")
    @classmethod
    def _local(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leaves the path of a file of the stack alone: the name by which one reader got there is not another's."""
        return [_with_path(each) if each.get("type") == "url_citation" else each for each in value]


def _with_path(cited: dict[str, Any]) -> dict[str, Any]:
    try:
        parsed = url.parse(str(cited.get("url", "")))
    except url.BadUrl:
        return cited
    match parsed.path.split("/"):
        case ["", "v1", "files", _, "content"] if parsed.query is None:
            return {**cited, "url": parsed.path}
    return cited


class Refusal(Body):
    """Why the assistant did not answer."""

    type: Literal["refusal"]
    refusal: Text


class InputImage(Body):
    """An image, in a URL that contains it."""

    type: Literal["input_image"]
    image_url: DataUrl | None = None
    file_id: FileId | None = None
    detail: Detail = "auto"
    prompt_cache_breakpoint: CacheMark = None


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
    detail: Annotated[Any, Field(exclude=True), Ignored("models only read the text of files")] = None
    prompt_cache_breakpoint: CacheMark = None

    @field_validator("file_url", mode="before")
    @classmethod
    def _file_url(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("URLs are not fetched: send file_data.")
        return value


Content = Annotated[InputText | OutputText | Refusal | InputImage | InputAudio | InputFile, Field(discriminator="type")]


ItemStatus = Literal["in_progress", "completed", "incomplete"]


CallId = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class ReturnedItem(Body):
    """What all items of answers and conversations have, which clients send back with them."""

    id: Echoed = None
    created_at: Echoed = None
    created_by: Echoed = None
    headrace: Echoed = None


class MessageItem(ReturnedItem):
    """A message of a conversation; a string as its content is a single text part."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    status: ItemStatus = "completed"
    phase: Echoed = None
    content: Text | Annotated[list[Content], Field(fail_fast=True, max_length=1000)]

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if isinstance(self.content, str):
            assistant = self.role == "assistant"
            part = OutputText(type="output_text", text=self.content) if assistant else None
            self.content = [part or InputText(type="input_text", text=self.content)]
        return self


class FunctionCallItem(ReturnedItem):
    """A call by the model."""

    type: Literal["function_call"]
    call_id: CallId
    name: str = Field(min_length=1, max_length=64)
    arguments: str
    status: ItemStatus = "completed"
    caller: Echoed = None
    namespace: Echoed = None
    parsed_arguments: Echoed = None
    asynchronous: Echoed = Field(default=None, alias="async")
    async_: Echoed = None  # OpenAI's own client calls it that in what it sends back


class FunctionCallOutputItem(ReturnedItem):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Text | Annotated[list[Content], Field(fail_fast=True, max_length=1000)]
    status: ItemStatus = "completed"
    caller: Echoed = None
    name: Echoed = None
    namespace: Echoed = None


def item_type(value: Any) -> Any:
    """Returns the type of an item."""
    given = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", None)
    return given if isinstance(given, str) else None


ItemBody = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")],
    Discriminator(item_type),  # OpenAI's clients may omit the type of a message
]


class ConversationRequest(Body):
    """`POST /v1/conversations`."""

    items: list[ItemBody] | None = Field(default=None, max_length=20)
    metadata: Metadata | None = None


class MetadataUpdate(Body):
    """`POST /v1/chat/completions/{id}`."""

    metadata: Metadata | None


class ConversationState(Body):
    """What OpenAI's conversations lack: omitted fields stay unchanged."""

    title: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        default=None, description="empty: the beginning of the first question"
    )
    pinned: bool | None = None
    archived: bool | None = None


class ConversationUpdate(Body):
    """`POST /v1/conversations/{id}`: `metadata`, which may be null, is required without `headrace`."""

    metadata: Metadata | None = None
    headrace: ConversationState | None = None


class ForkRequest(Body):
    """`POST /v1/conversations/{id}/fork`."""

    after: str | None = Field(
        default=None, min_length=1, max_length=64, description="the item that the new conversation ends with"
    )
    before: str | None = Field(
        default=None, min_length=1, max_length=64, description="instead, the item before which it ends"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.after is None) == (self.before is None):
            raise ValueError("exactly one of after and before is required.")
        return self


class ShareRequest(Body):
    """`POST /v1/shares`."""

    conversation: str = Field(min_length=1, max_length=64)
    until: str | None = Field(
        default=None, min_length=1, max_length=64, description="the last item to share; by default the newest"
    )
    expires_in_s: int = Field(
        default=DEFAULT_SHARE_S, ge=60, le=MAX_SHARE_S, description="seconds after which nobody can read it"
    )


class ConversationItemsRequest(Body):
    """`POST /v1/conversations/{id}/items`."""

    items: list[ItemBody] = Field(min_length=1, max_length=20)
