"""Requests about assistants that a tenant makes by the API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from serving.config import BufferMemory, NoMemory, TokenWindowMemory
from serving.config.base import Name
from serving.protocol.knowledge import MAX_STORES, StoreId
from serving.protocol.parts import Body, ModelName, Text
from serving.protocol.vector_stores import Listed

MAX_INSTRUCTIONS = 100_000

OwnMemory = Annotated[NoMemory | BufferMemory | TokenWindowMemory, Field(discriminator="kind")]
"""Memory that keeps nothing beside the conversation itself."""


class AssistantSettings(Body):
    """What a version of an assistant consists of. Fields that are not known are refused: nothing is ours to ignore."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName = Field(description="the model or alias that answers, which its caller must be allowed to call")
    description: str = Field(default="", max_length=2000)
    instructions: Text = Field(default="", max_length=MAX_INSTRUCTIONS, description="system prompt")
    vector_store_ids: list[StoreId] = Field(
        default=[], max_length=MAX_STORES, description="searched as its caller may read them"
    )
    max_num_results: int = Field(default=4, ge=1, le=50, description="passages put into the prompt at most")
    context_tokens: int = Field(default=700, ge=50, le=100_000, description="budget of the passages")
    memory: OwnMemory = Field(default=TokenWindowMemory(), description="of the conversation that a request names")
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    refusal: str = Field(
        default="I found nothing about this in the documents that I can read.",
        min_length=1,
        max_length=2000,
        description="the answer when nothing good enough is found",
    )
    spotlight: Literal["none", "delimit", "datamark"] = Field(
        default="delimit", description="how passages are set apart from instructions"
    )


class AssistantRequest(Listed, AssistantSettings):
    """`POST /v1/assistants`."""

    name: Name


class AssistantVersionRequest(AssistantSettings):
    """`POST /v1/assistants/{id}/versions`. A version is whole: what is left out has its default."""

    activate: bool = Field(default=True, description="whether it answers from now on")


class AssistantUpdate(Listed):
    """`POST /v1/assistants/{id}`."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="the version that answers from now on")
