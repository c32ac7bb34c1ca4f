"""What an export is made of: completions with what was said of them, whatever holds them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CapturedMessage:
    """One message of a prompt: its role as in OpenAI's API, and its text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Rival:
    """The other answer of a choice: what it said, and whether it is a whole answer whose caller agreed to exports."""

    id: str
    answer: str | None
    allowed: bool
    user: str = ""


@dataclass(frozen=True, slots=True)
class CapturedRating:
    """What a caller who agreed to exports said of a completion, at unix time `at`; what was not said is None.

    `thumb` is True for up. `score` is from 0 to 1. `correction` is the
    better answer. `preferred` says which side of a choice this completion was, and `rival` is the other side.
    """

    id: str
    at: float
    thumb: bool | None = None
    score: float | None = None
    tags: tuple[str, ...] = ()
    correction: str | None = None
    preferred: bool | None = None
    rival: Rival | None = None
    user: str = ""

    def verdict(self, min_score: float) -> bool | None:
        """Whether the answer is good: by thumb, else by a score of `min_score` or more, else by the choice."""
        if self.thumb is not None:
            return self.thumb
        if self.score is not None:
            return self.score >= min_score
        return self.preferred


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer whose caller agreed to exports: the exact `messages` that the model was sent, and its `answer`.

    `messages` is None when they are not text alone, and so is `answer`. `whole` says that the model ended the answer
    by itself. Completions of one `session` never stand in two splits.
    """

    id: str
    session: str
    at: float
    messages: tuple[CapturedMessage, ...] | None
    answer: str | None
    whole: bool
    model: str
    assistant: str | None = None
    adapter: str | None = None
    prompt_version: str | None = None
    ratings: tuple[CapturedRating, ...] = ()
    user: str = ""

    @property
    def users(self) -> dict[str, str]:
        """Who asked for it, rated it and asked for what it was compared with, by the id of each of these."""
        rivals = {rating.rival.id: rating.rival.user for rating in self.ratings if rating.rival is not None}
        return {self.id: self.user, **{rating.id: rating.user for rating in self.ratings}, **rivals}
