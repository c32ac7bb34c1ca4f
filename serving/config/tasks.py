"""Tasks of models: chat, embedding or reranking."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from serving.config.base import Strict

Task = Literal["chat", "embed", "rerank"]


class Embedding(Strict):
    """Prompts of an embedding model, and the form of its vectors."""

    dimensions: int = Field(ge=1, le=16_384, description="number of dimensions")
    query_prefix: str = Field(default="", max_length=1000, description="prefix of a query")
    passage_prefix: str = Field(default="", max_length=1000, description="prefix of a document")
    matryoshka: bool = Field(default=False, description="whether vectors can be truncated (Matryoshka)")


class Tasked(Strict):
    """A model with one task."""

    task: Task = Field(default="chat", description="its task: answer chats, embed texts, or rerank documents")
    embedding: Embedding | None = Field(default=None, description="settings of a model whose task is embed")
    grounded: bool | None = Field(
        default=None,
        description="whether it can answer from passages of documents; if not, they are quoted unless `unsupported` "
        "says otherwise; by default true, except for SmolLM2-135M",
    )

    @property
    def answers_from_passages(self) -> bool:
        """Whether it can answer from passages: as it says, or by the name of its weights."""
        if self.grounded is not None:
            return self.grounded
        weights = (str(getattr(self, field, None) or "").lower() for field in ("source", "storage", "file"))
        return not any("smollm2-135m" in each for each in weights)

    @model_validator(mode="after")
    def _embedding(self) -> Self:
        if self.task == "embed" and self.embedding is None:
            raise ValueError("needs embedding, with its dimensions, for task embed")
        if self.task != "embed" and self.embedding is not None:
            raise ValueError("embedding applies to models whose task is embed")
        return self
