"""What a model is asked for: chats, vectors of texts, or an order of documents."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from serving.config.base import Strict

Task = Literal["chat", "embed", "rerank"]


class Embedding(Strict):
    """How an embedding model wants to be asked, and what it answers."""

    dimensions: int = Field(ge=1, le=16_384, description="numbers in a vector")
    query_prefix: str = Field(default="", max_length=1000, description="before a text that is searched for")
    passage_prefix: str = Field(default="", max_length=1000, description="before a text that is found")
    matryoshka: bool = Field(default=False, description="whether the beginning of a vector is a vector too")


class Tasked(Strict):
    """A model that does one thing."""

    task: Task = Field(default="chat", description="what it does: answer chats, embed texts, or rerank documents")
    embedding: Embedding | None = Field(default=None, description="of a model whose task is embed")

    @model_validator(mode="after")
    def _embedding(self) -> Self:
        if self.task == "embed" and self.embedding is None:
            raise ValueError("needs embedding, with its dimensions, for task embed")
        if self.task != "embed" and self.embedding is not None:
            raise ValueError("embedding is for models whose task is embed")
        return self
