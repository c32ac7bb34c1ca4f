"""Arguments of the tools that the Model Context Protocol offers; their JSON Schemas are what models read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serving.protocol.knowledge import MAX_STORES, StoreId
from serving.protocol.memories import MemoryRequest, MemoryText, MemoryUpdate
from serving.protocol.parts import Body, ModelName, Text
from serving.protocol.vector_stores import Query

MAX_POSITION = 999_999_999

MemoryId = Annotated[str, Field(min_length=1, max_length=128, description="list_memories has the ids")]


class NoArguments(Body):
    """A tool without arguments."""


class PageArguments(Body):
    """A page of a list."""

    limit: int = Field(default=20, ge=1, le=100, description="how many are returned at most")
    after: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="last_id of the page before this one, if it has_more"
    )


class StoreListArguments(PageArguments):
    """`list_vector_stores`."""

    name: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="lists those of this name")


class FileArguments(Body):
    """`read_file`."""

    file_id: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="list_files has the ids")
    start: int = Field(default=0, ge=0, le=MAX_POSITION, description="where the passage begins, in characters")
    end: int = Field(
        default=0, ge=0, le=MAX_POSITION, description="where it ends; for the next part, `start` is the `end` of this"
    )


class MemoryListArguments(PageArguments):
    """`list_memories`."""

    assistant: ModelName | None = Field(default=None, description="lists what this one knows")


class NewMemory(MemoryRequest):
    """`add_memory`."""

    assistant: ModelName = Field(description="an assistant that remembers facts")
    text: MemoryText = Field(description="one statement about the caller")


class ChangedMemory(MemoryUpdate):
    """`update_memory`."""

    memory_id: MemoryId
    text: MemoryText = Field(description="what replaces the statement")


class MemoryArguments(Body):
    """`delete_memory`."""

    memory_id: MemoryId


class SearchArguments(Body):
    """`search`."""

    vector_store_id: StoreId = Field(description="the store to search; list_vector_stores has the ids")
    query: Query = Field(description="a question or words, in the language of the documents")
    max_num_results: int = Field(default=10, ge=1, le=50, description="how many passages are returned at most")


class AskArguments(Body):
    """`ask`."""

    model: ModelName = Field(description="the assistant or model that answers; list_models has the names")
    question: Annotated[Text, Field(min_length=1)] = Field(description="all that is asked: earlier ones are not known")
    vector_store_ids: Annotated[list[StoreId], Field(min_length=1, max_length=MAX_STORES)] | None = Field(
        default=None, description="vector stores whose passages the answer is made from, and cites"
    )
    max_tokens: int | None = Field(default=None, ge=1, description="the most tokens that the answer may have")
