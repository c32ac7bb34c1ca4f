"""Converts completions to a folder of rows: ratings, redaction, duplicates, splits, manifest."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import orjson

from serving.core.ids import now
from serving.exports.agreement import RaterAgreement
from serving.exports.completion import Completion
from serving.exports.duplicates import DigestSet
from serving.exports.folder import ExportFolder
from serving.exports.forgetting import person
from serving.exports.formats import FORMATS, Row, compared_text
from serving.exports.manifest import (
    MANIFEST,
    Counts,
    ExportedFile,
    ExportManifest,
    Filters,
    ModelVersion,
    Rater,
    Raters,
    Redaction,
)
from serving.exports.near_duplicates import NearDuplicates
from serving.exports.splits import split_of
from serving.store.errors import InvalidValue, StoreError

MAX_RATERS = 1000
"""Maximum number of raters in one manifest."""

MAX_VERSIONS = 10_000
"""Maximum number of model versions in one manifest."""


class NothingToExport(StoreError):
    """No completion gives a row; the message has the counts and reasons."""


class Redact(Protocol):
    """Removes personal data from a completion's texts, and reports it."""

    def redact(self, completion: Completion) -> Completion: ...

    def report(self) -> Redaction: ...


@dataclass(frozen=True, slots=True)
class Order:
    """The parameters of an export. `licences` has the licences of models' bases, by model.

    Rows that say almost the same as an earlier one are omitted if their likeness is at least `alike`, and so are those
    beyond the first `per_user` of a user who requested or rated them; None omits none.
    """

    format: str
    filters: Filters
    splits: Mapping[str, float]
    seed: int = 0
    licences: Mapping[str, str] = field(default_factory=dict)
    alike: float | None = None
    per_user: int | None = None


async def export(
    completions: AsyncIterator[Completion],
    order: Order,
    folder: ExportFolder,
    redactor: Redact | None,
    *,
    without_consent: int = 0,
    rows_of: Counter[str] | None = None,
) -> ExportManifest:
    """Writes the rows of `completions`, which are newest first, publishes the folder and returns its manifest.

    Of equal rows the first, that is, the newest is kept. `without_consent` is the number of other completions, for the
    manifest. `rows_of` gets the number of rows of each user. Raises `NothingToExport`, `Occupied` or `OSError`.
    """
    if order.format not in FORMATS:
        raise InvalidValue("format", f"must be one of {', '.join(FORMATS)}")
    left: Counter[str] = Counter(without_consent=without_consent)
    salt = secrets.token_hex(16)
    versions: Counter[tuple[str, str | None, str | None]] = Counter()
    rows_of = Counter() if rows_of is None else rows_of
    rated: Counter[str] = Counter()

    def hashed(user: str) -> str:
        return person(salt, order.filters.tenant, user)

    with DigestSet() as seen, NearDuplicates(order.alike or 1.0) as near, RaterAgreement() as agreement:
        async for completion in completions:
            left["completions"] += 1
            rows, why_not = _rows(completion, order, redactor)
            if why_not:
                left[why_not] += 1
            split = split_of(completion.session, order.splits, order.seed)
            for row in rows:
                raters = {user: id for id in row.ratings if (user := completion.users.get(id))}
                for user, rating in raters.items():
                    # Comparing takes milliseconds, and others wait for this loop.
                    await asyncio.to_thread(agreement.add, user, rating, row.data)
                if not seen.add(row.key):
                    left["duplicates"] += 1
                    continue
                named = {user for id in (*row.completions, *row.ratings) if (user := completion.users.get(id))}
                if order.per_user is not None and any(rows_of[user] >= order.per_user for user in named):
                    left["over_share"] += 1
                    continue
                if order.alike is not None and not near.add(compared_text(row.data)):
                    left["near_duplicates"] += 1
                    continue
                rows_of.update(named)
                rated.update(list(raters))
                folder.add(f"{split}.jsonl", orjson.dumps(row.data.model_dump(), option=orjson.OPT_APPEND_NEWLINE))
                lineage = {
                    "completions": row.completions,
                    "ratings": row.ratings,
                    "people": sorted(hashed(user) for user in named),
                    "raters": sorted(hashed(user) for user in raters),
                }
                folder.add(f"{split}.lineage.jsonl", orjson.dumps(lineage, option=orjson.OPT_APPEND_NEWLINE))
                left["rows"] += 1
                versions[completion.model, completion.adapter, completion.prompt_version] += 1
                if len(versions) > MAX_VERSIONS:
                    raise InvalidValue("model", f"must leave at most {MAX_VERSIONS} versions of models")
        counts = Counts(**left)
        if not counts.rows:
            raise NothingToExport(f"there is nothing to export: {_counts_as_text(counts)}")
        manifest = ExportManifest(
            format=order.format,
            row_schema=FORMATS[order.format].row.model_json_schema(),
            created_at=now(),
            people_salt=salt,
            filters=order.filters,
            splits=dict(order.splits),
            seed=order.seed,
            redaction=redactor.report() if redactor else None,
            counts=counts,
            raters=_raters(agreement, rated, hashed),
            models=tuple(
                ModelVersion(
                    model=model,
                    adapter=adapter,
                    prompt_version=prompt,
                    licence=order.licences.get(model),
                    rows=rows,
                )
                for (model, adapter, prompt), rows in versions.most_common()
            ),
            files=tuple(
                ExportedFile(
                    name=name,
                    kind="lineage" if name.endswith(".lineage.jsonl") else "rows",
                    split=name.partition(".")[0],
                    rows=lines.rows,
                    bytes=lines.size,
                    sha256=lines.digest.hexdigest(),
                )
                for name, lines in sorted(folder.files.items())
            ),
        )
        folder.publish(MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
    return manifest


def _raters(agreement: RaterAgreement, rated: Counter[str], hashed: Callable[[str], str]) -> Raters | None:
    """Returns how raters agree, by their hashes."""
    if not rated:
        return None
    # By hash where the number is the same: the order of names would say something about them.
    most = sorted(((hashed(user), user) for user in agreement.raters), key=lambda one: (-rated[one[1]], one[0]))
    return Raters(
        people=len(most),
        pairs=agreement.pairs,
        agreed=agreement.agreed,
        raters=tuple(
            Rater(
                rater=rater,
                rows=rated[user],
                pairs=(of := agreement.raters[user]).pairs,
                agreed=of.agreed,
                contradicted=tuple(of.contradicted),
            )
            for rater, user in most[:MAX_RATERS]
        ),
    )


def _rows(completion: Completion, order: Order, redactor: Redact | None) -> tuple[list[Row], str]:
    """Returns a completion's rows, or none and the name of the count for the reason."""
    if not completion.whole:
        return [], "unfinished"
    if not completion.messages or not completion.answer or not completion.answer.strip():
        return [], "not_text"
    tags = set(order.filters.tags)
    wanted = tuple(r for r in completion.ratings if not tags or tags.intersection(r.tags))
    make = FORMATS[order.format].rows
    completion = replace(completion, ratings=wanted)
    if (tags and not wanted) or not any(make(completion, order.filters.min_score)):
        return [], "without_rating"
    if redactor:
        completion = redactor.redact(completion)
    return list(make(completion, order.filters.min_score)), ""


def _counts_as_text(counts: Counts) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.model_dump().items())
