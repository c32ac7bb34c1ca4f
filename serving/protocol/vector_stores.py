"""Requests of embeddings and vector stores."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import orjson
from pydantic import Field, StringConstraints, model_validator

from serving.protocol.filters import Filter
from serving.protocol.parts import Body, EndUser, FileId, Ignored, Metadata, ModelName, Refused, Text
from serving.store.access import MAX_NAMES, Access

MAX_BATCHED_FILES = 2000
"""Maximum number of files of one file batch, as in OpenAI's API."""

MAX_REPEATED = 4_000_000
"""Maximum number of bytes of `attributes` and `access` of a file batch that names them once: each file has a copy."""


class EmbeddingRequest(Body):
    """`POST /v1/embeddings`."""

    model: ModelName
    input: Text | Annotated[list[Text], Field(fail_fast=True, min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    user: EndUser = None


Attributes = Annotated[dict[str, str | float | bool | int], Field(max_length=16)]

Expiry = Annotated[None, Refused("Vector stores do not expire: delete them.")]


class StaticChunking(Body):
    """Sizes of chunks, in tokens of the embedder; they are limited to its window."""

    max_chunk_size_tokens: int = Field(ge=100, le=4096)
    chunk_overlap_tokens: int = Field(ge=0, le=2048)

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        if self.chunk_overlap_tokens > self.max_chunk_size_tokens // 2:
            raise ValueError("chunk_overlap_tokens must be at most half of max_chunk_size_tokens")
        return self


class AutoStrategy(Body):
    """Chunk sizes chosen for the embedder."""

    type: Literal["auto"]


class StaticStrategy(Body):
    """Chunk sizes chosen by the caller."""

    type: Literal["static"]
    static: StaticChunking


ChunkingStrategy = Annotated[AutoStrategy | StaticStrategy, Field(discriminator="type")]


Names = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=256)]], Field(max_length=MAX_NAMES)]


class AccessList(Body):
    """Who may read an object in addition to its owner: users and groups of the tenant."""

    users: Names = Field(default=[])
    groups: Names = Field(default=[])

    @property
    def stored(self) -> Access:
        return Access(self.users, self.groups)


class Listed(Body):
    """An object with an access list, which OpenAI's API lacks; null means everybody in the tenant."""

    access: AccessList | None = None

    @property
    def list_given(self) -> Access | Literal["unchanged"] | None:
        """The list, or `unchanged` when the request has none."""
        if "access" not in self.model_fields_set:
            return "unchanged"
        return self.access.stored if self.access is not None else None


class VectorStoreRequest(Listed):
    """`POST /v1/vector_stores`."""

    name: str = Field(min_length=1, max_length=256)
    metadata: Metadata | None = None
    file_ids: list[FileId] | None = Field(default=None, max_length=500)
    chunking_strategy: ChunkingStrategy | None = None
    expires_after: Expiry = None
    description: Annotated[
        str | None, Ignored("it is not stored, and no answer contains it"), Field(max_length=4096)
    ] = None


class VectorStoreUpdate(Listed):
    """`POST /v1/vector_stores/{id}`."""

    name: str | None = Field(default=None, min_length=1, max_length=256)
    metadata: Metadata | None = None
    expires_after: Expiry = None


class VectorStoreFileRequest(Listed):
    """`POST /v1/vector_stores/{id}/files`."""

    file_id: str = Field(min_length=1, max_length=128)
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


BatchedFileIds = Annotated[list[FileId], Field(min_length=1, max_length=MAX_BATCHED_FILES)]


class FileBatchRequest(Listed):
    """`POST /v1/vector_stores/{id}/file_batches`: `file_ids` with the same settings, or `files` with
    individual ones.
    """

    file_ids: BatchedFileIds | None = None
    files: Annotated[list[VectorStoreFileRequest], Field(min_length=1, max_length=MAX_BATCHED_FILES)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.file_ids is None) == (self.files is None):
            raise ValueError("name the files either in file_ids or in files")
        if self.files is not None:
            said = {"attributes", "chunking_strategy", "access"} & self.model_fields_set
            if any(getattr(self, name) is not None for name in said):
                raise ValueError("with files, set attributes, chunking_strategy and access for each file")
            if len({each.file_id for each in self.files}) < len(self.files):
                raise ValueError("a file is named twice in files")
        for_each = self.model_dump(include={"attributes", "access"}, exclude_none=True)
        if self.file_ids is not None and len(self.file_ids) * len(orjson.dumps(for_each)) > MAX_REPEATED:
            raise ValueError(
                f"attributes and access are stored for each file, together with at most {MAX_REPEATED} bytes: "
                "shorten them, or name fewer files"
            )
        return self


class VectorStoreFileUpdate(Body):
    """`POST /v1/vector_stores/{id}/files/{file_id}`: null removes all attributes."""

    attributes: Attributes | None


class RankingOptions(Body):
    """How hits are ranked. `auto` and `none` are the same: words and meaning are fused, without reranking."""

    ranker: Annotated[
        Literal["auto", "none"] | None, Refused("This ranker is OpenAI's own: leave it out, or ask for auto or none.")
    ] = None
    score_threshold: float | None = Field(default=None, ge=0, le=1, description="minimum `score` of returned hits")


Query = Annotated[str, StringConstraints(min_length=1, max_length=8192)]

MAX_QUERIES = 10
"""Maximum number of queries of one search, which is charged as one."""


class SearchRequest(Body):
    """`POST /v1/vector_stores/{id}/search`."""

    query: Query | Annotated[list[Query], Field(min_length=1, max_length=MAX_QUERIES)]
    max_num_results: int = Field(default=10, ge=1, le=50)
    filters: Filter | None = None
    ranking_options: RankingOptions | None = None
    rewrite_query: Annotated[
        Literal[False] | None, Refused("Queries are searched unchanged: leave rewrite_query out.")
    ] = None
