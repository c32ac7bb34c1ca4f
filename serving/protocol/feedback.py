"""Requests of feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from serving.protocol.parts import Body
from serving.store.feedback import MAX_COMMENT, MAX_CORRECTION, MAX_TAG, MAX_TAGS


class FeedbackTarget(Body):
    """The target of a rating: a completion, an item of a conversation, or a conversation."""

    type: Literal["response", "message", "session"]
    id: str = Field(min_length=1, max_length=128)


class FeedbackRequest(Body):
    """`POST /v1/feedback`."""

    id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    target: FeedbackTarget
    thumb: Literal["up", "down"] | None = None
    score: float | None = Field(default=None, ge=0, le=1)
    tags: list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG)]] = Field(
        default=[], max_length=MAX_TAGS
    )
    comment: str | None = Field(default=None, min_length=1, max_length=MAX_COMMENT)
    correction: str | None = Field(default=None, min_length=1, max_length=MAX_CORRECTION)
    rejected: str | None = Field(default=None, min_length=1, max_length=128)
    consent: bool = False
