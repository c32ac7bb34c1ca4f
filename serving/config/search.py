"""The models of searches: the embedder and the reranker."""

from __future__ import annotations

from pydantic import Field

from serving.config.base import Name, Strict
from serving.config.limits import Replicas

DEFAULT_EMBEDDER = "bge-small-en-v1.5"
"""The default embedder."""

JUDGE = "all-minilm-l6-v2"
"""The embedder of citations, topics and memory, independent of searches: their thresholds are for its cosines."""

LOCAL_EMBEDDERS: tuple[str, ...] = (DEFAULT_EMBEDDER, JUDGE)
"""Local embedders, which retrieval runs itself: those of `serving.retrieval.embedders.local_models`."""


class SearchModels(Strict):
    """The models that search vector stores."""

    embedder: Name = Field(default=DEFAULT_EMBEDDER, description="a model whose task is embed, or a local embedder")
    reranker: Name | None = Field(
        default=None, description="a model whose task is rerank, which reorders the best hits; by default none"
    )
    reranked: int = Field(default=30, ge=2, le=100, description="number of hits that are reranked")
    rerank_timeout_s: float = Field(
        default=2, gt=0, le=60, description="timeout of the reranker, after which hits keep their order"
    )


class RetrievalSettings(Replicas, SearchModels):
    """Size of retrieval, and its models."""

    replicas: int = Field(default=1, ge=1, le=64)
    cpus: float = Field(default=0.4, gt=0, le=256)

    @property
    def size(self) -> Replicas:
        """Only the size."""
        return Replicas(**{name: getattr(self, name) for name in Replicas.model_fields})

    @property
    def search(self) -> SearchModels:
        """Only the models."""
        return SearchModels(**{name: getattr(self, name) for name in SearchModels.model_fields})
