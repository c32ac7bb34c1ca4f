"""What an export is: everything that must be known to use it, to repeat it and to trace it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from serving.config import Strict

MANIFEST: Final = "manifest.json"


class Filters(Strict):
    """What was asked for; times are unix seconds, from `since` up to but not including `until`."""

    tenant: str
    since: float | None = None
    until: float | None = None
    assistant: str | None = None
    model: str | None = None
    min_score: float = Field(default=0.5, ge=0, le=1, description="a score from here on is a good one")
    tags: tuple[str, ...] = Field(default=(), max_length=16, description="one of them stands in a rating that counts")


class Counts(Strict):
    """Completions that passed the filters, and why some gave no row; then rows."""

    without_consent: int = Field(default=0, ge=0, description="completions that were not read")
    completions: int = Field(default=0, ge=0, description="completions that were read")
    unfinished: int = Field(default=0, ge=0, description="broken off, cut at a limit or filtered")
    not_text: int = Field(default=0, ge=0, description="with tools, images or no text at all")
    without_rating: int = Field(default=0, ge=0, description="of the kind that the format needs, with consent")
    duplicates: int = Field(default=0, ge=0, description="rows that an earlier row equals but for white space")
    rows: int = Field(default=0, ge=0)


class ModelVersion(Strict):
    """What made the answers of some rows. `licence` is the base model's, as an SPDX expression."""

    model: str
    adapter: str | None
    prompt_version: str | None
    licence: str | None
    rows: int = Field(ge=1)


class ExportedFile(Strict):
    """One file of rows, or of where they come from: line by line the completions and the ratings."""

    name: str
    kind: Literal["rows", "lineage"]
    split: str
    rows: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Redaction(Strict):
    """What removed personal data and secrets, and how many of each kind it replaced."""

    presidio: str = Field(description="version of presidio-analyzer")
    replaced: dict[str, int]


class ExportManifest(Strict):
    """The last file of an export: a folder without it is none."""

    manifest: Literal[1] = 1
    format: str
    row_schema: dict[str, Any] = Field(description="JSON schema of a row")
    created_at: float
    people_salt: str | None = Field(default=None, description="with it the people in the lineage are hashed")
    forgotten: int = Field(
        default=0, ge=0, description="rows that went since, with a user; models are counted as before"
    )
    filters: Filters
    splits: dict[str, float]
    seed: int
    redaction: Redaction | None = Field(description="null: the texts are as they were said")
    counts: Counts
    models: tuple[ModelVersion, ...]
    files: tuple[ExportedFile, ...]
