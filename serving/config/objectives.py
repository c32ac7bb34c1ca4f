"""Objectives of a model: within what times its answers are good."""

from __future__ import annotations

import itertools
from typing import Any, Self

from pydantic import Field, model_validator

from serving.config.base import Strict
from serving.core.answer_lengths import LENGTHS, AnswerLength, extent


def _time_of(length: AnswerLength) -> Any:
    """Returns the field for the time of a class of answers, which is a field's default as far as types go."""
    return Field(default=None, gt=0, le=86_400, description=f"of answers of {extent(length)}")


class EndToEndByLength(Strict):
    """Times until an answer is complete, by its tokens; a class that is left out has the time of `end_to_end_s`."""

    short: float | None = _time_of("short")
    medium: float | None = _time_of("medium")
    long: float | None = _time_of("long")


class Objectives(Strict):
    """Times within which 95 % of a model's answers must be; gateways judge each answer, and alerts follow.

    Any time can be given: what is counted is the number of good answers, not the times in buckets.
    """

    first_token_s: float = Field(default=2.5, gt=0, le=3600, description="until a streamed answer begins")
    between_tokens_s: float = Field(
        default=0.1, gt=0, le=60, description="mean time between two tokens of a streamed answer"
    )
    end_to_end_s: float = Field(default=30, gt=0, le=86_400, description="until an answer is complete")
    end_to_end_by_length_s: EndToEndByLength | None = Field(
        default=None,
        description="until an answer is complete, by its length, where `end_to_end_s` is not for answers of any length",
    )

    @model_validator(mode="after")
    def _longer_takes_longer(self) -> Self:
        times = {length: self.end_to_end_s_of(length) for length in LENGTHS}
        for shorter, longer in itertools.pairwise(times):
            if times[shorter] > times[longer]:
                raise ValueError(
                    f"allows {longer} answers {times[longer]:g} s, less than {shorter} ones, which have"
                    f" {times[shorter]:g} s: see end_to_end_by_length_s"
                )
        return self

    def end_to_end_s_of(self, length: AnswerLength) -> float:
        """Returns the seconds within which an answer of a class of lengths must be complete."""
        own = getattr(self.end_to_end_by_length_s, length, None)
        return self.end_to_end_s if own is None else own


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
