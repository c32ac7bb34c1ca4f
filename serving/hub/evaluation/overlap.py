"""Finds prompts of a suite that training data contains: scores on them say nothing about other prompts."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

SIMILAR = 0.9
"""Share of common character sequences from which two texts are near-duplicates.

Questions of one template that differ in a name are different questions: "What is the capital of France?" and the same
of Spain have 0.6.
"""

_LENGTH = 5
"""Number of characters of a sequence."""


def shared(prompts: Sequence[str], training: Iterable[str]) -> list[int]:
    """Returns the numbers of the prompts of which the training data has a copy or near-duplicate.

    Case, punctuation and white space do not count. Takes time linear in the length of the training data.
    """
    return sorted(SuitePrompts(prompts).shared(training))


class SuitePrompts:
    """Prompts that training data is compared with, part by part."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self._suite = [_sequences(prompt) for prompt in prompts]
        self._having: dict[str, list[int]] = defaultdict(list)
        for number, sequences in enumerate(self._suite):
            for sequence in sequences:
                self._having[sequence].append(number)

    def shared(self, training: Iterable[str]) -> set[int]:
        """As the function `shared`."""
        found: set[int] = set()
        for text in training:
            sequences = _sequences(text)
            common = Counter(number for sequence in sequences for number in self._having.get(sequence, ()))
            for number, count in common.items():
                if count >= SIMILAR * (len(sequences) + len(self._suite[number]) - count):
                    found.add(number)
        return found


def user_texts(lines: Iterable[bytes]) -> Iterator[str]:
    """Yields the user's messages in rows of training data. Raises `ValueError` for what is not JSON Lines."""
    for line in lines:
        if line.strip():
            yield from _user_texts(orjson.loads(line))


def _user_texts(row: Any) -> Iterator[str]:
    if not isinstance(row, dict):
        return
    if isinstance(row.get("input"), dict):  # OpenAI's preference row
        row = row["input"]
    messages = next((row[name] for name in ("prompt", "messages") if name in row), None)
    if isinstance(messages, str):
        yield messages
    elif isinstance(messages, list):
        for message in messages:
            if isinstance(message, dict) and message.get("role") == "user" and isinstance(message.get("content"), str):
                yield message["content"]


def _sequences(text: str) -> set[str]:
    words = "".join(c if c.isalnum() else " " for c in unicodedata.normalize("NFKC", text).casefold()).split()
    plain = " ".join(words)
    return {plain[i : i + _LENGTH] for i in range(max(1, len(plain) - _LENGTH + 1))} if plain else set()
