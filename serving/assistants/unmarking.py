"""Removes the marks of a prompt from what the model says: small models copy them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serving.assistants.spotlight import MARKS

_DIGITS = 8
"""Length of a mark."""

_LEAST = 4
"""Number of digits at the end of an answer by which the beginning of a mark is recognised."""

_NOTE = re.compile(
    r"The text between <([0-9a-f]{8})> and </\1> was written by others"
    rf"(?:, and ([{MARKS}]) stands between its words)?"
)
_AROUND = re.compile(rf"{_NOTE.pattern}.*?\n<\1>\n(.*)\n</\1>", re.DOTALL)
_RUN = re.compile(r"[0-9a-f]{8,}")
_BEGINNING = re.compile(r"(?:</?)?[0-9a-f]{0,8}")


@dataclass(frozen=True, slots=True)
class Unmarking:
    """The marks of one prompt, the beginnings of them, and the signs between words."""

    marks: frozenset[str]
    beginnings: frozenset[str]
    signs: Mapping[int, str]

    @classmethod
    def in_prompt(cls, messages: Iterable[Mapping[str, Any]]) -> Unmarking | None:
        """Returns the marks in the messages of a prompt; None if there are none."""
        found = [note.groups() for text in _texts(messages) for note in _notes(text)]
        if not found:
            return None
        marks = frozenset(mark for mark, _ in found)
        beginnings = frozenset(mark[:length] for mark in marks for length in range(_DIGITS + 1))
        return cls(marks, beginnings, str.maketrans(dict.fromkeys((sign for _, sign in found if sign), " ")))

    def text(self, text: str) -> str:
        """Returns a complete text without marks."""
        remover = MarkRemover(self)
        return remover.feed(text) + remover.end()


class MarkRemover:
    """Removes marks from one text, however it is divided: what may be the beginning of a mark waits for the rest."""

    __slots__ = ("_held", "_of")

    def __init__(self, of: Unmarking) -> None:
        self._of = of
        self._held = ""

    def feed(self, piece: str) -> str:
        """Takes a piece and returns what can leave."""
        return self._leave(self._held + piece, last=False)

    def end(self) -> str:
        """Returns all that is left, without the beginning of a mark at the end of the text."""
        text = self._leave(self._held, last=True)
        for start in range(max(0, len(text) - _DIGITS - 2), len(text)):
            if self._begins(text[start:]) and len(text[start:].lstrip("</")) >= _LEAST:
                return text[:start]
        return text

    def _leave(self, text: str, *, last: bool) -> str:
        left, done = [], 0
        for begin, end in self._spans(text):
            if end == len(text) and not last and text[-1] != ">":
                break  # its last character may follow
            left.append(text[done:begin])
            done = end
        waits = len(text)
        if not last:
            earliest = max(done, len(text) - _DIGITS - 2)
            waits = next((at for at in range(earliest, len(text)) if self._begins(text[at:])), waits)
        left.append(text[done:waits])
        self._held = text[waits:]
        return "".join(left).translate(self._of.signs)

    def _begins(self, text: str) -> bool:
        """Returns whether a mark may begin with `text`."""
        return _BEGINNING.fullmatch(text) is not None and text.lstrip("</") in self._of.beginnings

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yields where marks are, with their brackets."""
        done = 0
        for run in _RUN.finditer(text):
            at = run.start()
            while at + _DIGITS <= run.end():
                if text[at : at + _DIGITS] not in self._of.marks:
                    at += 1
                    continue
                opened = next((o for o in ("</", "<") if text.startswith(o, max(done, at - len(o)), at)), "")
                done = at = at + _DIGITS
                yield done - _DIGITS - len(opened), (done := done + text.startswith(">", done))


def text_within(marked: str) -> str:
    """Returns a text of others without the marks around it and their explanation; another text stays as it is."""
    found = _AROUND.fullmatch(marked)
    if found is None:
        return marked
    _, sign, text = found.groups()
    return text.replace(sign, " ") if sign else text


def _notes(text: str) -> Iterator[re.Match[str]]:
    """Yields the explanations of marks. One within marks is none: others wrote it, and could have words removed."""
    at = 0
    while (note := _NOTE.search(text, at)) is not None:
        yield note
        if (at := text.find(f"\n</{note[1]}>", note.end())) < 0:
            return


def _texts(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            yield from (part["text"] for part in content if isinstance(part.get("text"), str))
