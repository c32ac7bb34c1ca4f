"""Memory: what an assistant's model reads of a conversation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serving.config.base import Name, Strict


class NoMemory(Strict):
    """Each request is answered without earlier turns; its turns are still stored."""

    kind: Literal["none"] = "none"


class BufferMemory(Strict):
    """The newest turns that fit into the model's context."""

    kind: Literal["buffer"] = "buffer"
    turns: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="maximum number of turns; a turn is a question with all that follows it",
    )


class TokenWindowMemory(Strict):
    """The newest turns that fit into `tokens`, and into the model's context."""

    kind: Literal["token_window"] = "token_window"
    tokens: int = Field(default=4096, ge=1, le=100_000_000)


class Compressing(Strict):
    """Settings of memory with a summary."""

    summary_tokens: int = Field(
        default=256, ge=16, le=8192, description="maximum length of the summary, at most 1/4 of the context"
    )
    model: Name | None = Field(default=None, description="alias or model that summarises; by default the assistant's")


class SummaryMemory(Compressing):
    """A summary of the conversation so far, and the newest turn."""

    kind: Literal["summary"] = "summary"


class SummaryWindowMemory(Compressing):
    """The newest turns that fit into `tokens`, and a summary of those before them."""

    kind: Literal["summary_window"] = "summary_window"
    tokens: int = Field(default=2048, ge=1, le=100_000_000)


class FactsMemory(Strict):
    """Facts about the user, who can read and edit them under `/v1/memories`, and the newest turns."""

    kind: Literal["facts"] = "facts"
    turns: int = Field(default=10, ge=0, le=10_000, description="number of newest turns, verbatim")
    tokens: int = Field(default=512, ge=1, le=1_000_000, description="token budget of facts in the prompt")
    limit: int = Field(
        default=100, ge=1, le=1000, description="maximum number of stored facts; the oldest extracted ones are deleted"
    )
    model: Name | None = Field(
        default=None, description="alias or model that extracts facts; by default the assistant's"
    )


class VectorMemory(Strict):
    """Past turns that are similar to the question, and the newest turns."""

    kind: Literal["vector"] = "vector"
    turns: int = Field(default=4, ge=0, le=10_000, description="number of newest turns, verbatim")
    top_k: int = Field(default=4, ge=1, le=50, description="maximum number of past turns")
    min_score: float = Field(
        default=0.3, ge=-1, le=1, description="minimum cosine between a past turn and the question"
    )
    tokens: int = Field(default=1024, ge=1, le=1_000_000, description="token budget of the past turns")
    scope: Literal["conversation", "principal"] = Field(
        default="conversation", description="this conversation, or all conversations of the user with the assistant"
    )
    keep: int = Field(
        default=2000, ge=1, le=10_000, description="number of newest turns of a conversation that can be retrieved"
    )


Memory = Annotated[
    NoMemory | BufferMemory | TokenWindowMemory | SummaryMemory | SummaryWindowMemory | VectorMemory | FactsMemory,
    Field(discriminator="kind"),
]
"""What a model reads of a conversation. Turns are included as a whole or not at all."""
