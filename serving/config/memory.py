"""What an assistant is shown of a conversation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serving.config.base import Name, Strict


class NoMemory(Strict):
    """Each request stands alone; its turns are stored all the same."""

    kind: Literal["none"] = "none"


class BufferMemory(Strict):
    """The newest turns, as far as the model's context holds them."""

    kind: Literal["buffer"] = "buffer"
    turns: int = Field(default=10, ge=1, le=10_000, description="a turn is a question with all that follows it")


class TokenWindowMemory(Strict):
    """As many of the newest turns as `tokens`, and the model's context, hold."""

    kind: Literal["token_window"] = "token_window"
    tokens: int = Field(default=4096, ge=1, le=100_000_000)


class Compressing(Strict):
    """What every memory has that keeps a summary."""

    summary_tokens: int = Field(default=256, ge=16, le=8192, description="longest summary, at most 1/4 of the context")
    model: Name | None = Field(default=None, description="the alias (or model) that summarises; else the assistant's")


class SummaryMemory(Compressing):
    """A summary of the conversation so far, and the newest turn."""

    kind: Literal["summary"] = "summary"


class SummaryWindowMemory(Compressing):
    """As many of the newest turns as `tokens` hold, and a summary of those before them."""

    kind: Literal["summary_window"] = "summary_window"
    tokens: int = Field(default=2048, ge=1, le=100_000_000)


class FactsMemory(Strict):
    """What is known about the user, who reads and edits it under `/v1/memories`, and the newest turns."""

    kind: Literal["facts"] = "facts"
    turns: int = Field(default=10, ge=0, le=10_000, description="newest turns, as they were said")
    tokens: int = Field(default=512, ge=1, le=1_000_000, description="of the facts that the model is told")
    limit: int = Field(default=100, ge=1, le=1000, description="facts kept; of those that a model found the oldest go")
    model: Name | None = Field(default=None, description="the alias (or model) that finds facts; else the assistant's")


class VectorMemory(Strict):
    """Past turns that are like the question, and the newest turns."""

    kind: Literal["vector"] = "vector"
    turns: int = Field(default=4, ge=0, le=10_000, description="newest turns, as they were said")
    top_k: int = Field(default=4, ge=1, le=50, description="past turns, at most")
    min_score: float = Field(default=0.3, ge=-1, le=1, description="least cosine between a past turn and the question")
    tokens: int = Field(default=1024, ge=1, le=1_000_000, description="of the past turns together")
    scope: Literal["conversation", "principal"] = Field(
        default="conversation", description="this conversation, or all that the user had with the assistant"
    )
    keep: int = Field(default=2000, ge=1, le=10_000, description="newest turns of a conversation that can be found")


Memory = Annotated[
    NoMemory | BufferMemory | TokenWindowMemory | SummaryMemory | SummaryWindowMemory | VectorMemory | FactsMemory,
    Field(discriminator="kind"),
]
"""What of a conversation a model is shown again. Turns are shown whole or not at all."""
