"""Objectives of a model: within what times its answers are good."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from serving.config.base import Strict


class Objectives(Strict):
    """Times within which 95 % of a model's answers must be; gateways judge each answer, and alerts follow.

    Any time can be given: what is counted is the number of good answers, not the times in buckets.
    """

    first_token_s: float = Field(default=2.5, gt=0, le=3600, description="until a streamed answer begins")
    between_tokens_s: float = Field(
        default=0.1, gt=0, le=60, description="mean time between two tokens of a streamed answer"
    )
    end_to_end_s: float = Field(default=30, gt=0, le=86_400, description="until an answer is complete")


class Judged(Strict):
    """A model whose answers are judged by objectives."""

    objectives: Objectives | None = Field(
        default=None, description="times within which its answers are good, which alerts judge; by default the stack's"
    )

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if self.objectives is not None and getattr(self, "task", "chat") != "chat":
            raise ValueError("has objectives, which are for models whose task is chat")
        return self
