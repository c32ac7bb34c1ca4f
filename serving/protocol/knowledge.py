"""What a request has searched to be answered: vector stores of the caller's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from serving.protocol.filters import Filter
from serving.protocol.parts import Body, Refused
from serving.protocol.vector_stores import RankingOptions

MAX_STORES = 16
"""Vector stores of one request, as many as an assistant has collections."""

StoreId = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class KnowledgeRanking(RankingOptions):
    """Which of the passages that are found are good enough."""

    hybrid_search: Annotated[None, Refused("Words and meaning have fixed weights.")] = None


class Knowledge(Body):
    """Vector stores that are searched for what is asked, with what the assistant reads itself."""

    vector_store_ids: Annotated[list[StoreId], Field(min_length=1, max_length=MAX_STORES)]
    max_num_results: int | None = Field(default=None, ge=1, le=50)
    ranking_options: KnowledgeRanking | None = None
    filters: Filter | None = None

    @property
    def score_threshold(self) -> float:
        """The score that a passage has at least."""
        return (self.ranking_options.score_threshold if self.ranking_options is not None else None) or 0.0


class FileSearchTool(Knowledge):
    """OpenAI's search of vector stores, which is made before the model is asked."""

    type: Literal["file_search"]


class FileSearchChoice(Body):
    """That the search is made, as it always is."""

    type: Literal["file_search"]
