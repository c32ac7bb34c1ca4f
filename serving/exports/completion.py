"""The input of an export: completions with their ratings, independent of their storage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CapturedMessage:
    """One message of a prompt: its role as in OpenAI's API, and its text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Rival:
    """The other answer of a comparison: its text, and whether it is complete and its caller agreed to exports."""

    id: str
    answer: str | None
    allowed: bool
    user: str = ""


@dataclass(frozen=True, slots=True)
class CapturedRating:
    """A rating of a completion by a caller who agreed to exports, at unix time `at`; omitted parts are None.

    `thumb` is True for up. `score` is from 0 to 1. `correction` is a better answer. `preferred` tells which side of a
    comparison this completion was, and `rival` is the other side.
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
        """Returns whether the answer is good: by thumb, else by a score of at least `min_score`, else by the
        comparison.
        """
        if self.thumb is not None:
            return self.thumb
        if self.score is not None:
            return self.score >= min_score
        return self.preferred


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer whose caller agreed to exports: the exact `messages` of the prompt, and the `answer`.

    `messages` is None when they are not only text, and so is `answer`. `whole` tells that the model completed the
    answer. Completions of one `session` are always in the same split.
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
        """The users who requested it, rated it and requested its rivals, by the ids of these."""
        rivals = {rating.rival.id: rating.rival.user for rating in self.ratings if rating.rival is not None}
        return {self.id: self.user, **{rating.id: rating.user for rating in self.ratings}, **rivals}
