"""Parts of messages: text, pictures, recordings and files.

Fields of others that have no support are marked: `Refused` if they would change the answer, otherwise `Ignored`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WrapValidator,
)
from pydantic.json_schema import JsonSchemaValue

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]


Text = str


Metadata = Annotated[dict[str, str], Field(max_length=16)]


class Body(BaseModel):
    """Base class of request bodies: values keep their JSON types (a string is not a number), and a field that is not
    declared is an error.
    """

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True)
class Refused:
    """Marks a field of others that is not supported and would change the answer: a 400 explains `why`.

    Null is accepted, and so are values that ask for the default behaviour: the field's own type lists them.
    """

    why: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        def explained(value: Any, validate: Callable[[Any], Any]) -> Any:
            try:
                return validate(value)
            except ValueError:
                raise RefusedValueError(self.why) from None

        return WrapValidator(explained).__get_pydantic_core_schema__(source, handler)


@dataclass(frozen=True)
class Ignored:
    """Marks a field of others that has no effect here and would not change the answer; `why` explains it."""

    why: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "description": f"without effect: {self.why}"}


class RefusedValueError(ValueError):
    """The value of a field that is marked as `Refused`."""


Echoed = Annotated[
    Any, Field(exclude=True), Ignored("clients send it back with earlier answers, and no model reads it")
]
"""A field of answers that clients send back with the answer."""


LogitBias = Annotated[
    Annotated[dict[str, float], Field(max_length=0)] | None,
    Refused("Biases refer to OpenAI's token ids, which no model here has."),
]

Moderation = Annotated[None, Refused("There is no moderation here: use guardrails.")]

SameForAnswers = Annotated[Any, Ignored("it does not affect answers")]

CacheOption = Annotated[
    Any, Ignored("the stack's `prompt_cache` determines who shares a cache, which does not affect answers")
]

ServiceTier = Annotated[
    Literal["auto", "default", "flex", "scale", "priority", "fast"] | None,
    Ignored("all requests are served with the tier `default`"),
]

CacheMark = Annotated[CacheOption, Field(exclude=True)]
"""A mark at a part of a prompt, of OpenAI (`prompt_cache_breakpoint`) or of Anthropic (`cache_control`)."""

EndUser = Annotated[
    str | None,
    Field(max_length=512),
    Ignored("requests are counted for the user of the API key, and this field does not affect answers"),
]


class TextPart(Body):
    """Text inside a message."""

    type: Literal["text"]
    text: Text
    prompt_cache_breakpoint: CacheMark = None
    cache_control: CacheMark = None


def _content_itself(value: Any) -> Any:
    if isinstance(value, str) and not value.startswith("data:"):
        raise ValueError("Send the content itself, as data:<type>;base64,<content>: URLs are not fetched.")
    return value


DataUrl = Annotated[
    str,
    StringConstraints(pattern=r"^data:[a-z]+/[A-Za-z0-9.+-]+;base64,[A-Za-z0-9+/]*={0,2}$"),
    BeforeValidator(_content_itself),
]
"""The content itself, never a URL: an engine would fetch it from inside of the cluster's network."""


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
    """A part other than text in a message: passed on to engines that support it."""

    prompt_cache_breakpoint: CacheMark = None
    cache_control: CacheMark = None


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
