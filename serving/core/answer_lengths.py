"""The classes of answers by their tokens, which share an objective: their names, bounds and descriptions."""

from __future__ import annotations

import math
from typing import Literal, get_args

AnswerLength = Literal["short", "medium", "long"]
LENGTHS: dict[AnswerLength, float] = dict(zip(get_args(AnswerLength), (100, 1000, math.inf), strict=True))
"""The most tokens of an answer in each class, in ascending order."""


def length_of(tokens: int) -> AnswerLength:
    """Returns the class of an answer of so many tokens."""
    return next(length for length, most in LENGTHS.items() if tokens <= most)


def extent(length: AnswerLength) -> str:
    """Returns how many tokens the answers of a class have, such as `at most 100 tokens`."""
    most = LENGTHS[length]
    if math.isfinite(most):
        return f"at most {most:,} tokens"
    return f"more than {max(filter(math.isfinite, LENGTHS.values())):,} tokens"
