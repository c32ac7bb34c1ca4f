"""What the store returns about prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.core.principal import Principal

MAX_TEXT = 65_536
"""Maximum number of characters of a version's text."""

MAX_DESCRIPTION = 2_000

MAX_NUMBER = 2**31 - 1
"""Largest number that the database can compare with a version's."""


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A prompt; `version` is the number of its newest version, and `labels` maps names to numbers."""

    id: str
    tenant: str
    user: str
    name: str
    description: str
    version: int
    created_at: float
    updated_at: float
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A version of a prompt, which never changes.

    `user` is its author, None once that user was erased; `by_operator` tells whether the author had the role operator
    or admin at the time, and `trusted` whether the author's key was trusted with instructions.
    """

    id: str
    tenant: str
    prompt_id: str
    version: int
    text: str
    variables: list[str]
    sha256: str
    user: str | None
    by_operator: bool
    trusted: bool
    created_at: float

    def by_another(self, reader: Principal) -> bool:
        """Returns whether the text is another user's, for whom no operator answers."""
        return self.user != reader.user and not self.by_operator

    def trusted_for(self, reader: Principal) -> bool:
        """Returns whether the text may count as the instructions of a reader who is trusted with these.

        A key that is not trusted gains no trust by storing what another key of the same user then names.
        """
        return self.trusted and not self.by_another(reader)

    def taints(self, reader: Principal) -> bool:
        """Returns whether the text counts as that of others: also that of the reader's less trusted keys."""
        lesser = not self.trusted and not self.by_operator and "prompt" in reader.scopes
        return self.by_another(reader) or lesser

    def note(self, named_by: str) -> dict[str, Any]:
        """Returns what captures record of its use; `named_by` is `request` or `assistant`."""
        return {"by": named_by, "id": self.prompt_id, "version": self.version, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class PromptLabel:
    """A label of a prompt, and the version to which it points; `before` is the one before its last change, if any."""

    name: str
    prompt_id: str
    version: int
    before: int | None
    updated_at: float
