"""The formats of rows, and the rows that one completion gives in each.

TRL's are those of its guide "Dataset formats and types" (https://huggingface.co/docs/trl/v1.16.0/dataset_formats), in
their conversational form. OpenAI's are those of its guides to supervised fine-tuning
(https://developers.openai.com/api/docs/guides/supervised-fine-tuning) and to direct preference optimization
(https://developers.openai.com/api/docs/guides/direct-preference-optimization).
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from serving.config import Strict
from serving.exports.completion import CapturedMessage, CapturedRating, Completion


class TrainingMessage(Strict):
    """A message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class Answered(Strict):
    """A message of the model."""

    role: Literal["assistant"] = "assistant"
    content: str = Field(min_length=1)


Prompt = Annotated[tuple[TrainingMessage, ...], Field(min_length=1)]
Answer = Annotated[tuple[Answered, ...], Field(min_length=1, max_length=1)]


class Chat(Strict):
    """TRL's language modeling row, and OpenAI's row for supervised fine-tuning; the last message is the model's."""

    messages: Annotated[tuple[TrainingMessage, ...], Field(min_length=2)]


class Preference(Strict):
    """TRL's preference row, with an explicit prompt."""

    prompt: Prompt
    chosen: Answer
    rejected: Answer


class UnpairedPreference(Strict):
    """TRL's unpaired preference row; `label` is true for a good answer."""

    prompt: Prompt
    completion: Answer
    label: bool


class PromptOnly(Strict):
    """TRL's prompt-only row."""

    prompt: Prompt


class FineTuneInput(Strict):
    """The common input of both answers in OpenAI's preference row."""

    messages: Prompt


class FineTunePreference(Strict):
    """OpenAI's row for direct preference optimization."""

    input: FineTuneInput
    preferred_output: Answer
    non_preferred_output: Answer


@dataclass(frozen=True, slots=True)
class Row:
    """A row, its key for duplicates, and the ratings that it is made from (besides its completion)."""

    data: Strict
    key: bytes
    completions: tuple[str, ...]
    ratings: tuple[str, ...] = ()


Rows = Callable[[Completion, float], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format's row type, and the function from a completion (and the minimum score) to rows."""

    row: type[Strict]
    rows: Rows


def demonstrations(completion: Completion, min_score: float) -> Iterator[Row]:
    """Yields the conversation with its newest correction, or else with the answer if it was rated as good."""
    prompt, answer = _texts(completion)
    rating = _newest(completion, lambda r: r.correction is not None)
    if rating is None:
        rating = _judged(completion, min_score)
        if rating is None or not rating.verdict(min_score):
            return
    target = answer if rating.correction is None else rating.correction
    messages = (*prompt, TrainingMessage(role="assistant", content=target))
    yield Row(Chat(messages=messages), _key(prompt, target), (completion.id,), (rating.id,))


def preferences(completion: Completion, min_score: float) -> Iterator[Row]:
    """Yields a pair of the newest correction and the answer, and one for each comparison of this answer."""
    prompt, answer = _texts(completion)

    def pair(chosen: str, rejected: str, completions: tuple[str, ...], rating: CapturedRating) -> Iterator[Row]:
        if _normal(chosen) == _normal(rejected):
            return
        data = Preference(prompt=prompt, chosen=(Answered(content=chosen),), rejected=(Answered(content=rejected),))
        # In either order: the same two answers are compared once.
        yield Row(data, _key(prompt, *sorted((_normal(chosen), _normal(rejected)))), completions, (rating.id,))

    corrected = _newest(completion, lambda r: r.correction is not None)
    if corrected is not None and corrected.correction is not None:
        yield from pair(corrected.correction, answer, (completion.id,), corrected)
    for rating in sorted(completion.ratings, key=_age):
        rival = rating.rival
        if rating.preferred and rival is not None and rival.allowed and rival.answer:
            yield from pair(answer, rival.answer, (completion.id, rival.id), rating)


def unpaired(completion: Completion, min_score: float) -> Iterator[Row]:
    """Yields the newest correction as good, and the answer as rated: bad if it was only corrected."""
    prompt, answer = _texts(completion)

    def labelled(content: str, label: bool, rating: CapturedRating) -> Row:
        data = UnpairedPreference(prompt=prompt, completion=(Answered(content=content),), label=label)
        return Row(data, _key(prompt, content), (completion.id,), (rating.id,))

    corrected = _newest(completion, lambda r: r.correction is not None)
    if corrected is not None and corrected.correction is not None:
        yield labelled(corrected.correction, True, corrected)
    judged = _judged(completion, min_score)
    if judged is not None:
        yield labelled(answer, bool(judged.verdict(min_score)), judged)
    elif corrected is not None:
        yield labelled(answer, False, corrected)


def prompts(completion: Completion, min_score: float) -> Iterator[Row]:
    """Yields the prompt, rated or not."""
    prompt, _ = _texts(completion)
    yield Row(PromptOnly(prompt=prompt), _key(prompt), (completion.id,))


def fine_tune_preferences(completion: Completion, min_score: float) -> Iterator[Row]:
    """Yields `preferences` in OpenAI's format."""
    for row in preferences(completion, min_score):
        pair = row.data
        assert isinstance(pair, Preference)
        data = FineTunePreference(
            input=FineTuneInput(messages=pair.prompt),
            preferred_output=pair.chosen,
            non_preferred_output=pair.rejected,
        )
        yield replace(row, data=data)


FORMATS: Mapping[str, ExportFormat] = {
    "trl-sft": ExportFormat(Chat, demonstrations),
    "trl-preference": ExportFormat(Preference, preferences),
    "trl-unpaired-preference": ExportFormat(UnpairedPreference, unpaired),
    "trl-prompt-only": ExportFormat(PromptOnly, prompts),
    "openai-chat": ExportFormat(Chat, demonstrations),
    "openai-preference": ExportFormat(FineTunePreference, fine_tune_preferences),
}


def compared_text(data: Strict) -> str:
    """Returns what a row is about, to compare it with others: the last question, and the answers.

    Instructions and earlier messages are left out, since all rows of an assistant share them.
    """
    parts: list[TrainingMessage | Answered]
    match data:
        case Chat(messages=messages):
            parts = [*messages[:-1][-1:], messages[-1]]
        case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
            parts = [prompt[-1], *chosen, *rejected]
        case UnpairedPreference(prompt=prompt, completion=completion):
            parts = [prompt[-1], *completion]
        case PromptOnly(prompt=prompt):
            parts = [prompt[-1]]
        case FineTunePreference(input=asked, preferred_output=preferred, non_preferred_output=other):
            parts = [asked.messages[-1], *preferred, *other]
        case _:
            raise TypeError(f"{type(data).__name__} is no row")
    return "\n".join(part.content for part in parts)


def _texts(completion: Completion) -> tuple[tuple[TrainingMessage, ...], str]:
    assert completion.messages is not None
    assert completion.answer is not None
    return tuple(_training_message(message) for message in completion.messages), completion.answer


def _training_message(message: CapturedMessage) -> TrainingMessage:
    # Chat templates and OpenAI's fine-tuning only know the older name.
    role = "system" if message.role == "developer" else message.role
    return TrainingMessage.model_validate({"role": role, "content": message.content})


def _age(rating: CapturedRating) -> tuple[float, str]:
    return -rating.at, rating.id


def _newest(completion: Completion, wanted: Callable[[CapturedRating], bool]) -> CapturedRating | None:
    return min(filter(wanted, completion.ratings), key=_age, default=None)


def _judged(completion: Completion, min_score: float) -> CapturedRating | None:
    return _newest(completion, lambda r: r.verdict(min_score) is not None)


def _key(prompt: tuple[TrainingMessage, ...], *answers: str) -> bytes:
    """Digest of normalised content: rows that differ only in white space or Unicode forms are equal."""
    content = [[(said.role, _normal(said.content)) for said in prompt], *map(_normal, answers)]
    return hashlib.sha256(json.dumps(content).encode()).digest()


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
