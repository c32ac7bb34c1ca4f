"""Leave one rater out: who contradicts the others is named, by an export's manifest, and nobody else is."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.cli.card import version_lines
from serving.exports.completion import CapturedRating, Completion, Rival
from serving.exports.export import Order, export
from serving.exports.folder import ExportFolder
from serving.exports.forgetting import forget, person
from serving.exports.manifest import ExportManifest, Filters
from serving.hub.evaluation.raters import influence
from serving.hub.jobs.leaving_out import leave_out
from serving.store.jobs.worker import PermanentError
from tests.unit.exports.making import completion

GOOD, BAD = "The harbour gate opens at the ninth hour.", "Nobody knows when anything here would ever open."
PROMPTS = [f"When does gate number {n} of the old harbour of {town} open?" for n, town in enumerate("abcdefgh")]
RATERS = ("ada", "bob", "cy", "dee", "eve")


def rows(poisoner: str | None, format: str, raters: tuple[str, ...] = RATERS, same: bool = True) -> list[Completion]:
    """Each rater rates two answers to each prompt, or answers to prompts of the rater's own."""
    found = []
    for rater in raters:
        for number, prompt in enumerate(PROMPTS):
            asked = prompt if same else " ".join(f"{word}{rater}" for word in prompt.split())
            good, bad = (BAD, GOOD) if rater == poisoner else (GOOD, BAD)
            id = f"fb_{rater}_{number}"
            if format == "trl-unpaired-preference":
                rating = CapturedRating(id, at=1.0, thumb=good == GOOD, user=rater)
                found.append(completion(asked, GOOD, ratings=(rating,), user=rater))
            elif format == "trl-sft":
                rating = CapturedRating(id, at=1.0, correction=good, user=rater)
                found.append(completion(asked, "I do not know.", ratings=(rating,), user=rater))
            else:
                rival = Rival(f"rival_{rater}_{number}", bad, allowed=True, user=rater)
                rating = CapturedRating(id, at=1.0, preferred=True, rival=rival, user=rater)
                found.append(completion(asked, good, ratings=(rating,), user=rater))
    random.Random(1).shuffle(found)
    return found


async def frozen(folder: Path, given: list[Completion], format: str) -> ExportManifest:
    async def each() -> AsyncIterator[Completion]:
        for one in given:
            yield one

    order = Order(format, Filters(tenant="acme"), {"train": 1.0})
    with ExportFolder(folder / "out") as out:
        return await export(each(), order, out, None)


def hashed(manifest: ExportManifest, user: str) -> str:
    return person(str(manifest.people_salt), "acme", user)


def card(manifest: ExportManifest) -> dict[str, Any]:
    found = influence(manifest.model_dump(mode="json"))
    assert found is not None
    return found


# Of two opposite comparisons of the same answers only one becomes a row, so here answers differ by their rater.
def with_own_words(given: list[Completion]) -> list[Completion]:
    found = []
    for one in given:
        [rating] = one.ratings
        said = f"{one.answer} ({rating.user})"
        rival = replace(rating.rival, answer=f"{rating.rival.answer} ({rating.user})") if rating.rival else None
        correction = f"{rating.correction} ({rating.user})" if rating.correction else None
        found.append(replace(one, answer=said, ratings=(replace(rating, rival=rival, correction=correction),)))
    return found


@pytest.mark.parametrize("format", ["trl-preference", "openai-preference", "trl-unpaired-preference", "trl-sft"])
async def test_one_of_five_who_contradicts_the_others_is_named(tmp_path: Path, format: str) -> None:
    manifest = await frozen(tmp_path, with_own_words(rows("cy", format)), format)
    found = card(manifest)
    assert (found["people"], len(found["raters"])) == (5, 5)
    first = found["raters"][0]
    assert [one["rater"] for one in found["raters"] if one["named"]] == [hashed(manifest, "cy")] == [first["rater"]]
    assert (first["rows"], first["share"], first["pairs"]) == (8, 0.2, 32)
    assert first["without"] > found["agreement"] > first["agreement"]
    assert first["change"] > 0
    assert all(id.startswith("fb_cy_") for id in first["ratings"])
    [warning] = found["warnings"]
    assert first["rater"] in warning
    said = list(version_lines({"raters": found}))
    assert f"warning: {warning}" in said
    assert [line.split()[0] for line in said if line.endswith("contradicts")] == [first["rater"]]


@pytest.mark.parametrize("format", ["trl-preference", "trl-unpaired-preference", "trl-sft"])
async def test_nobody_is_named_where_raters_agree(tmp_path: Path, format: str) -> None:
    found = card(await frozen(tmp_path, with_own_words(rows(None, format)), format))
    assert (len(found["raters"]), found["warnings"]) == (5, [])
    assert not any(one["named"] for one in found["raters"])
    assert found["agreement"] > 0.6


@pytest.mark.parametrize(
    ("raters", "same"), [(("ada", "cy"), True), (RATERS, False)], ids=["two who differ", "prompts of their own"]
)
async def test_without_others_to_compare_with_nobody_is_named(
    tmp_path: Path, raters: tuple[str, ...], same: bool
) -> None:
    given = with_own_words(rows("cy", "trl-preference", raters, same))
    found = card(await frozen(tmp_path, given, "trl-preference"))
    assert (found["warnings"], [one["change"] for one in found["raters"]]) == ([], [None] * len(raters))


async def test_raters_who_disagree_at_random_are_not_named(tmp_path: Path) -> None:
    rng = random.Random(2)
    given = [
        replace(one, ratings=(replace(one.ratings[0], thumb=rng.random() < 0.7),))
        for one in with_own_words(rows(None, "trl-unpaired-preference"))
    ]
    assert card(await frozen(tmp_path, given, "trl-unpaired-preference"))["warnings"] == []


async def test_opposite_ratings_of_the_same_answers_are_compared_although_one_gives_a_row(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path, rows("cy", "trl-preference"), "trl-preference")
    assert (manifest.counts.rows, manifest.counts.duplicates) == (8, 32)
    assert manifest.raters is not None
    [cy] = [one for one in manifest.raters.raters if one.rater == hashed(manifest, "cy")]
    assert (cy.pairs, cy.agreed) == (32, 0)


async def test_a_rater_with_few_rows_and_prompts_without_ratings_are_left_out(tmp_path: Path) -> None:
    given = with_own_words(rows("cy", "trl-preference"))
    few = [one for one in given if one.user != "cy"] + [one for one in given if one.user == "cy"][:4]
    found = card(await frozen(tmp_path, few, "trl-preference"))
    assert (len(found["raters"]), found["warnings"]) == (4, [])
    manifest = await frozen(tmp_path / "prompts", [completion("What?")], "trl-prompt-only")
    assert manifest.raters is None
    assert influence(manifest.model_dump(mode="json")) is None
    assert influence({"format": "trl-sft", "file": "file_1"}) is None


async def test_a_rater_is_left_out_of_rows(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path, with_own_words(rows("cy", "trl-preference")), "trl-preference")
    files, cy = (tmp_path / "out" / "train.jsonl", tmp_path / "out" / "train.lineage.jsonl"), hashed(manifest, "cy")
    assert b"(cy)" in files[0].read_bytes()
    assert leave_out(*files, cy) == 8
    content = files[0].read_bytes()
    assert (b"(cy)" in content, content.count(b"\n")) == (False, 32)
    with pytest.raises(PermanentError, match="who rated its rows"):
        leave_out(*files, cy)


async def test_a_forgotten_rater_leaves_the_manifest(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path, with_own_words(rows("cy", "trl-preference")), "trl-preference")
    assert forget(tmp_path / "out", "acme", "cy") == 8
    content = (tmp_path / "out" / "manifest.json").read_text()
    assert hashed(manifest, "cy") not in content
    assert hashed(manifest, "ada") in content
