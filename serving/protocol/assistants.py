"""Requests about assistants that a tenant creates through the API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serving.config import BufferMemory, NoMemory, Starter, TokenWindowMemory
from serving.config.assistant import Unsupported
from serving.config.base import Name
from serving.protocol.knowledge import MAX_STORES, StoreId
from serving.protocol.parts import Body, ModelName, Text
from serving.protocol.prompts.requests import PromptReference
from serving.protocol.vector_stores import Listed

MAX_INSTRUCTIONS = 100_000

OwnMemory = Annotated[NoMemory | BufferMemory | TokenWindowMemory, Field(discriminator="kind")]
"""Kinds of memory that store nothing in addition to the conversation."""


class AssistantSettings(Body):
    """The settings of a version of an assistant."""

    model: ModelName = Field(description="the model or alias, which callers must be allowed to call")
    description: str = Field(default="", max_length=2000)
    starters: list[Starter] = Field(default=[], max_length=8, description="questions that the page offers")
    instructions: Text = Field(default="", max_length=MAX_INSTRUCTIONS, description="system prompt")
    prompt: PromptReference | None = Field(
        default=None, description="a stored prompt instead of instructions, with the values of its variables"
    )
    vector_store_ids: list[StoreId] = Field(
        default=[], max_length=MAX_STORES, description="vector stores to search, as far as the caller may read them"
    )
    max_num_results: int = Field(default=4, ge=1, le=50, description="maximum number of passages in the prompt")
    context_tokens: int = Field(default=700, ge=50, le=100_000, description="token budget of the passages")
    memory: OwnMemory = Field(
        default=TokenWindowMemory(), description="memory of the conversation that a request names"
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    refusal: str = Field(
        default="I found nothing about this in the documents that I can read.",
        min_length=1,
        max_length=2000,
        description="the answer when nothing relevant is found",
    )
    unsupported: Unsupported | None = Field(
        default=None,
        description="how an answer with sentences that no passage supports is handled: `mark` lists them beside it, "
        "`quote` answers with sentences of the documents themselves, `retry` asks the model again and `refuse` answers "
        "with `refusal`; by default as a request asks, else `mark`, or `quote` for a model that cannot answer from "
        "passages",
    )
    spotlight: Literal["none", "delimit", "datamark"] = Field(
        default="delimit", description="how passages are separated from instructions"
    )


class AssistantRequest(Listed, AssistantSettings):
    """`POST /v1/assistants`."""

    name: Name


class AssistantVersionRequest(AssistantSettings):
    """`POST /v1/assistants/{id}/versions`. A version is complete: omitted settings have their defaults."""

    activate: bool = Field(default=True, description="whether it becomes the active version")


class AssistantUpdate(Listed):
    """`POST /v1/assistants/{id}`."""

    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="the version to activate")
