"""What the answers of a shared conversation were made from, and who may read it.

An answer can repeat what any earlier answer of its conversation said. So a source counts from the item on that first
had it: whoever may not read it sees no answer from there on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.store.conversations import Item

DETAIL = "sources"
"""The key of an answer's details with its sources; null, or missing in older ones, if they are not known."""

ASSISTANT, OWN, MODEL = "assistant", "own", "model"
"""Kinds of what answers: assistants of the configuration by name, those of tenants by id, and models by name."""

MAX_FILES = 1000
MAX_ANSWERERS = 32
"""Maximum numbers of sources of one share: further ones count as unknown."""


def answerer(kind: str, name: str) -> str:
    """Returns the name of what answers, which is different for each kind."""
    return f"{kind}:{name}"


@dataclass(slots=True)
class Sources:
    """The sources of consecutive items: each with the number of the item from which on it counts.

    `files` were found for answers, and `attached` ones are of questions. `unknown` is the first item with a source that
    nobody can check, None if there is none.
    """

    files: dict[str, int] = field(default_factory=dict)
    attached: dict[str, int] = field(default_factory=dict)
    answerers: dict[str, int] = field(default_factory=dict)
    unknown: int | None = None
    last_seq: int = 0

    def add(self, item: Item) -> None:
        """Adds those of the next item; from an unknown one on nothing is shown, whatever else there is."""
        # A deleted item leaves a gap, and later answers may repeat it.
        known = item.seq == self.last_seq + 1
        self.last_seq = item.seq
        if self.unknown is not None:
            return
        known = known and self._add(item)
        few = len(self.files) + len(self.attached) <= MAX_FILES and len(self.answerers) <= MAX_ANSWERERS
        if not (known and few):
            self.unknown = item.seq

    def of_kind(self, kind: str) -> list[str]:
        """Returns the names, or ids, of what answered that are of a kind."""
        split = [each.partition(":") for each in self.answerers]
        return [name for of, _, name in split if of == kind]

    def _add(self, item: Item) -> bool:
        """Adds an item's sources; returns whether they are all known."""
        body = item.body
        if body.get("type") != "message":
            return False  # calls of functions, and what they returned
        if body.get("role") == "user":
            known = [self._add_part(part, item.seq) for part in parts_of(body)]
            return all(known)
        made = (item.details or {}).get(DETAIL)
        # Something answered: without its name, nobody knows who may call it.
        if body.get("role") != "assistant" or not isinstance(made, dict) or not made.get("answerers"):
            return False
        for id in made["files"]:
            self.files.setdefault(id, item.seq)
        for each in made["answerers"]:
            self.answerers.setdefault(each, item.seq)
        return True

    def _add_part(self, part: Mapping[str, Any], seq: int) -> bool:
        if part.get("type") == "input_text":
            return True
        id = part.get("file_id") if part.get("type") == "input_file" else None
        if not isinstance(id, str) or part.get("file_data"):
            return False
        self.attached.setdefault(id, seq)
        return True

    def withheld_from(
        self, files: Collection[str], attached: Collection[str], answerers: Collection[str]
    ) -> int | None:
        """Returns the number of the item from which on a reader sees no answers; None if the reader sees all.

        `files`, `attached` and `answerers` are those that the reader has access to.
        """
        closed = [seq for id, seq in self.files.items() if id not in files]
        closed += [seq for id, seq in self.attached.items() if id not in attached]
        closed += [seq for name, seq in self.answerers.items() if name not in answerers]
        if self.unknown is not None:
            closed.append(self.unknown)
        return min(closed, default=None)

    def stored(self) -> dict[str, Any]:
        """Returns them as a document."""
        return {
            "files": self.files,
            "attached": self.attached,
            "answerers": self.answerers,
            "unknown": self.unknown,
        }


def parts_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the parts of a message's content."""
    content = body.get("content")
    if isinstance(content, str):
        return [{"type": "input_text" if body.get("role") == "user" else "output_text", "text": content}]
    return [part for part in content or () if isinstance(part, dict)]
