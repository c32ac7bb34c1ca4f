"""Which models search: the embedder, and a reranker of what it finds."""

from __future__ import annotations

from pydantic import Field

from serving.config.base import Name, Strict
from serving.config.limits import Replicas

DEFAULT_EMBEDDER = "bge-small-en-v1.5"
"""The embedder of a stack that names none."""

JUDGE = "all-minilm-l6-v2"
"""What citations, topics and memories are measured with, whatever searches: thresholds there are for its cosines."""

LOCAL_EMBEDDERS: tuple[str, ...] = (DEFAULT_EMBEDDER, JUDGE)
"""Embedders that retrieval runs itself: those of `serving.retrieval.embedders.local_models`."""


class SearchModels(Strict):
    """The models that search vector stores."""

    embedder: Name = Field(
        default=DEFAULT_EMBEDDER, description="a model whose task is embed, or one that retrieval runs itself"
    )
    reranker: Name | None = Field(
        default=None, description="a model whose task is rerank, which orders the best hits anew; by default none does"
    )
    reranked: int = Field(default=30, ge=2, le=100, description="hits of a search that are ordered anew")
    rerank_timeout_s: float = Field(
        default=2, gt=0, le=60, description="how long a search waits for the reranker before it does without"
    )


class RetrievalSettings(Replicas, SearchModels):
    """Size of retrieval, and the models that it searches with."""

    replicas: int = Field(default=1, ge=1, le=64)
    cpus: float = Field(default=0.4, gt=0, le=256)

    @property
    def size(self) -> Replicas:
        """The size alone."""
        return Replicas(**{name: getattr(self, name) for name in Replicas.model_fields})

    @property
    def search(self) -> SearchModels:
        """The models alone."""
        return SearchModels(**{name: getattr(self, name) for name in SearchModels.model_fields})
