"""Requests of embeddings and vector stores."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serving.protocol.parts import Body, FileId, Metadata, ModelName, Text
from serving.store.access import MAX_NAMES, Access


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

    users: Names = Field(default=[])
    groups: Names = Field(default=[])

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
