"""The manifest of an export: everything needed to use, repeat and trace it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from serving.config import Strict

MANIFEST: Final = "manifest.json"


class Filters(Strict):
    """The filters of an export; times are unix seconds, from `since` to before `until`."""

    tenant: str
    since: float | None = None
    until: float | None = None
    assistant: str | None = None
    model: str | None = None
    min_score: float = Field(default=0.5, ge=0, le=1, description="minimum score of a good rating")
    tags: tuple[str, ...] = Field(default=(), max_length=16, description="tags, of which a rating must have one")


class Counts(Strict):
    """Numbers of completions that passed the filters, of those without a row by reason, and of rows."""

    without_consent: int = Field(default=0, ge=0, description="completions without consent, which were not read")
    completions: int = Field(default=0, ge=0, description="completions that were read")
    unfinished: int = Field(default=0, ge=0, description="interrupted, truncated at a limit or filtered")
    not_text: int = Field(default=0, ge=0, description="with tools, images or no text at all")
    without_rating: int = Field(default=0, ge=0, description="without a rating that the format needs, with consent")
    duplicates: int = Field(default=0, ge=0, description="rows equal to an earlier one except for white space")
    near_duplicates: int = Field(default=0, ge=0, description="rows that say almost the same as an earlier one")
    over_share: int = Field(default=0, ge=0, description="rows beyond the maximum number of one user")
    rows: int = Field(default=0, ge=0)


class ModelVersion(Strict):
    """A model version that generated answers of some rows. `licence` is the base model's, as an SPDX expression."""

    model: str
    adapter: str | None
    prompt_version: str | None
    licence: str | None
    rows: int = Field(ge=1)


class ExportedFile(Strict):
    """One file of rows, or of their lineage: per line, the completions and ratings of a row."""

    name: str
    kind: Literal["rows", "lineage"]
    split: str
    rows: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Redaction(Strict):
    """The tool that removed personal data and secrets, and the number of replacements by kind."""

    presidio: str = Field(description="version of presidio-analyzer")
    replaced: dict[str, int]


class Rater(Strict):
    """How a rater agrees with others. `rater` is the hash of the user, as in the lineage."""

    rater: str
    rows: int = Field(ge=0, description="rows of the export that are made of the rater's ratings")
    pairs: int = Field(ge=0, description="comparisons with others' ratings of almost the same prompt")
    agreed: float = Field(ge=0, description="sum of the agreement in these, each from 0 to 1")
    contradicted: tuple[str, ...] = Field(default=(), description="ratings that others contradict, as examples")


class Raters(Strict):
    """How raters agree with each other: those with the most rows."""

    people: int = Field(ge=0, description="number of raters, also of those that are not listed")
    pairs: int = Field(ge=0)
    agreed: float = Field(ge=0)
    raters: tuple[Rater, ...]


class ExportManifest(Strict):
    """The last file of an export: a folder without it is incomplete."""

    manifest: Literal[1] = 1
    format: str
    row_schema: dict[str, Any] = Field(description="JSON schema of a row")
    created_at: float
    people_salt: str | None = Field(default=None, description="salt of the hashes of users in the lineage")
    forgotten: int = Field(
        default=0, ge=0, description="rows removed since, with their user; the counts of models are unchanged"
    )
    filters: Filters
    splits: dict[str, float]
    seed: int
    redaction: Redaction | None = Field(description="null: texts are not redacted")
    counts: Counts
    raters: Raters | None = Field(default=None, description="null: no row is made of a rating")
    models: tuple[ModelVersion, ...]
    files: tuple[ExportedFile, ...]
