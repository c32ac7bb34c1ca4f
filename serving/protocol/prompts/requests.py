"""Requests about prompts, and the reference to a prompt in other requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from serving.config.base import Name
from serving.protocol.parts import Body, Text
from serving.protocol.prompts.template import MAX_OPENINGS, MAX_VARIABLES, parse
from serving.store.prompts.records import MAX_DESCRIPTION, MAX_NUMBER, MAX_TEXT


def _parseable(text: str) -> str:
    if text.count("{{") > MAX_OPENINGS:  # counted first: parsing takes longer
        raise ValueError(f"A prompt has at most {MAX_OPENINGS} double braces.")
    if len(parse(text).variables) > MAX_VARIABLES:
        raise ValueError(f"A prompt has at most {MAX_VARIABLES} variables.")
    return text


PromptText = Annotated[Text, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_parseable)]
"""A template."""

PromptId = Annotated[str, StringConstraints(min_length=1, max_length=64)]

Label = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9._-]{0,61}[a-z0-9])?$")]
"""Name of a label: it begins with a letter, so that no number is one."""

VersionOrLabel = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{0,8}|[a-z]([a-z0-9._-]{0,61}[a-z0-9])?)$")]

Variables = Annotated[dict[str, str], Field(max_length=MAX_VARIABLES)]


class PromptReference(Body):
    """OpenAI's reference to a stored prompt. Variables are texts."""

    id: PromptId
    version: VersionOrLabel | None = Field(
        default=None,
        description="a number or a label; by default the label `production`, or the newest version without it",
    )
    variables: Variables | None = None


class PromptVersionRequest(Body):
    """`POST /v1/prompts/{id}/versions`."""

    text: PromptText = Field(description="the template, with variables such as `{{city}}`")


class PromptRequest(PromptVersionRequest):
    """`POST /v1/prompts`: a prompt with its first version."""

    name: Name
    description: str = Field(default="", max_length=MAX_DESCRIPTION)


class PromptUpdate(Body):
    """`POST /v1/prompts/{id}`."""

    description: str = Field(max_length=MAX_DESCRIPTION)


class LabelRequest(Body):
    """`PUT /v1/prompts/{id}/labels/{label}`."""

    version: int = Field(ge=1, le=MAX_NUMBER, description="the version to which the label then points")
    expected_version: int | None = Field(
        default=None,
        ge=0,
        le=MAX_NUMBER,
        description="the version to which it must point now, 0 for none; another one is a 409",
    )


class LabelName(Body):
    """The label in a path."""

    label: Label


class RenderRequest(Body):
    """`POST /v1/prompts/{id}/render`."""

    version: VersionOrLabel | None = Field(default=None, description="as in a response's `prompt`")
    variables: Variables | None = None
