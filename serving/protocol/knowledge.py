"""Vector stores that a request has searched for its answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from serving.config.assistant import Unsupported
from serving.protocol.filters import Filter
from serving.protocol.parts import Body, Refused
from serving.protocol.vector_stores import RankingOptions

MAX_STORES = 16
"""Maximum number of vector stores of one request, the same as of an assistant's collections."""

StoreId = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class KnowledgeRanking(RankingOptions):
    """Which passages are relevant enough."""

    hybrid_search: Annotated[None, Refused("The weights of keyword and vector search are fixed.")] = None


class Knowledge(Body):
    """Vector stores to search for the question, in addition to the assistant's own documents."""

    vector_store_ids: Annotated[list[StoreId], Field(min_length=1, max_length=MAX_STORES)]
    max_num_results: int | None = Field(default=None, ge=1, le=50)
    ranking_options: KnowledgeRanking | None = None
    filters: Filter | None = None
    context_tokens: int | None = Field(
        default=None,
        ge=50,
        le=100_000,
        description="token budget of the passages; for an assistant, at most its own",
    )
    unsupported: Unsupported | None = Field(
        default=None,
        description="how an answer with unsupported sentences is handled, as for assistants; by default `mark`, or "
        "`quote` for a model that cannot answer from passages",
    )

    @property
    def score_threshold(self) -> float:
        """Minimum score of a passage."""
        return (self.ranking_options.score_threshold if self.ranking_options is not None else None) or 0.0


class FileSearchTool(Knowledge):
    """OpenAI's tool for searching vector stores; the search takes place before the model is asked."""

    type: Literal["file_search"]


class FileSearchChoice(Body):
    """Requires the search, which always takes place."""

    type: Literal["file_search"]
