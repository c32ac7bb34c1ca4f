from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.exports.completion import CapturedMessage, CapturedRating, Completion
from serving.exports.export import NothingToExport, Order, export
from serving.exports.folder import ExportFolder
from serving.exports.formats import FORMATS
from serving.exports.manifest import ExportManifest, Filters
from serving.exports.splits import parse
from serving.store.errors import InvalidValue
from tests.unit.exports.making import completion, rated

UP = CapturedRating("fb_up", at=2, thumb=True)


async def each(given: list[Completion]) -> AsyncIterator[Completion]:
    for one in given:
        yield one


async def written(tmp_path: Path, *given: Completion, format: str = "trl-sft", **changes: Any) -> ExportManifest:
    filters = Filters(tenant="acme", **{k: changes.pop(k) for k in ("tags", "min_score") if k in changes})
    order = Order(format, filters, parse(changes.pop("split", "train=1")), **changes)
    with ExportFolder(tmp_path / "out") as folder:
        return await export(each(list(given)), order, folder, None)


def lines(tmp_path: Path, name: str) -> list[Any]:
    return [json.loads(line) for line in (tmp_path / "out" / name).read_bytes().splitlines()]


async def test_the_manifest_describes_the_files(tmp_path: Path) -> None:
    made = rated(UP, adapter="a", prompt_version="v1"), rated(UP, question="And now?")
    returned = await written(tmp_path, *made, licences={"m": "Apache-2.0"})
    manifest = ExportManifest.model_validate_json((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest == returned
    for file in manifest.files:
        content = (tmp_path / "out" / file.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
        assert content.count(b"\n") == file.rows == 2
    for row in lines(tmp_path, "train.jsonl"):
        jsonschema.validate(row, manifest.row_schema)
    assert {(v.model, v.adapter, v.prompt_version, v.licence, v.rows) for v in manifest.models} == {
        ("m", "a", "v1", "Apache-2.0", 1),
        ("m", None, None, "Apache-2.0", 1),
    }


async def test_rows_are_traceable_to_their_source(tmp_path: Path) -> None:
    one, other = rated(UP), rated(UP, question="And now?")
    await written(tmp_path, one, other)
    assert lines(tmp_path, "train.lineage.jsonl") == [
        {"completions": [one.id], "ratings": ["fb_up"], "people": [], "raters": []},
        {"completions": [other.id], "ratings": ["fb_up"], "people": [], "raters": []},
    ]


async def test_omitted_rows_are_counted(tmp_path: Path) -> None:
    manifest = await written(
        tmp_path,
        rated(UP),
        rated(UP),
        rated(UP, question="c", whole=False),
        rated(UP, question="d", messages=None),
        rated(UP, question="d", messages=()),
        rated(UP, question="e", answer=None),
        rated(UP, question="f", answer=" \n"),
        completion("g"),
    )
    assert manifest.counts.model_dump() == {
        "without_consent": 0,
        "completions": 8,
        "unfinished": 1,
        "not_text": 4,
        "without_rating": 1,
        "duplicates": 1,
        "near_duplicates": 0,
        "over_share": 0,
        "rows": 1,
    }


async def test_the_newer_of_two_contradicting_answers_is_exported(tmp_path: Path) -> None:
    """Answers come newest first; when they were rated says nothing of them."""
    newer, older = rated(CapturedRating("fb", at=3, thumb=False)), rated(CapturedRating("fb", at=9, thumb=True))
    answers = replace(newer, at=2.0), replace(older, at=1.0)
    await written(tmp_path, *answers, format="trl-unpaired-preference")
    assert [row["label"] for row in lines(tmp_path, "train.jsonl")] == [False]


async def test_only_ratings_with_a_wanted_tag_count(tmp_path: Path) -> None:
    tagged = rated(CapturedRating("fb", at=1, thumb=True, tags=("style", "short")))
    manifest = await written(tmp_path, tagged, rated(UP, question="b"), completion("c"), tags=("short", "other"))
    assert (manifest.counts.rows, manifest.counts.without_rating) == (1, 2)


async def test_prompts_need_no_rating_unless_a_tag_is_wanted(tmp_path: Path) -> None:
    assert (await written(tmp_path, completion(), format="trl-prompt-only")).counts.rows == 1
    with pytest.raises(NothingToExport):
        await written(tmp_path / "b", completion(), format="trl-prompt-only", tags=("short",))


async def test_nothing_to_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NothingToExport, match="1 unfinished"):
        await written(tmp_path, rated(UP, whole=False))
    assert list(tmp_path.iterdir()) == []


async def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="trl-sft"):
        await written(tmp_path, rated(UP), format="csv")


async def test_a_failing_source_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[Completion]:
        yield rated(UP)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), ExportFolder(tmp_path / "out") as folder:
        await export(broken(), Order("trl-sft", Filters(tenant="t"), {"train": 1.0}), folder, None)
    assert list(tmp_path.iterdir()) == []


completions = st.builds(
    completion,
    question=st.sampled_from(["a", "b", "c", "d", "e"]),
    answer=st.sampled_from(["It is blue.", "It is green.", "It  is blue."]),
    session=st.sampled_from([f"s{i}" for i in range(8)]),
    ratings=st.lists(st.builds(CapturedRating, id=st.just("fb"), at=st.just(1.0), thumb=st.booleans()), max_size=1).map(
        tuple
    ),
)


@settings(max_examples=40)
@given(st.lists(completions, max_size=30), st.sampled_from(sorted(FORMATS)), st.integers(0, 3))
async def test_sessions_stay_in_one_split(tmp_path_factory, given, format, seed) -> None:
    tmp_path = tmp_path_factory.mktemp("export")
    try:
        manifest = await written(tmp_path, *given, format=format, seed=seed, split="train=0.5,test=0.5")
    except NothingToExport:
        return
    session = {one.id: one.session for one in given}
    split_of: dict[str, str] = {}
    texts: list[str] = []
    for file in manifest.files:
        for line in lines(tmp_path, file.name):
            if file.kind == "lineage":
                for id in line["completions"]:
                    assert split_of.setdefault(session[id], file.split) == file.split
            else:
                texts.append(" ".join(json.dumps(line).replace("  ", " ").split()))
    assert len(texts) == len(set(texts)) == manifest.counts.rows


async def test_exports_are_reproducible(tmp_path: Path) -> None:
    given = [rated(UP, question=f"Question {i}?") for i in range(50)]
    first = await written(tmp_path / "1", *given, split="train=0.5,test=0.5")
    second = await written(tmp_path / "2", *given, split="train=0.5,test=0.5")
    assert first.files == second.files
    assert {file.split for file in first.files} == {"train", "test"}


async def test_rows_that_say_almost_the_same_are_omitted_across_splits(tmp_path: Path) -> None:
    asked = "When does the library on the market square open on the first Saturday of the month"
    given = [rated(UP, question=question) for question in (asked, f"{asked}?", f"{asked}, please?", "Who are you?")]
    manifest = await written(tmp_path, *given, split="train=1,test=1", alike=0.7)
    assert (manifest.counts.rows, manifest.counts.near_duplicates, manifest.counts.duplicates) == (2, 2, 0)


async def test_instructions_and_earlier_messages_do_not_make_rows_alike(tmp_path: Path) -> None:
    system = CapturedMessage("system", "Answer as the assistant of a library, briefly and politely. " * 20)
    given = [
        rated(UP, messages=(system, CapturedMessage("user", question)), answer=answer)
        for question, answer in (("Who wrote Emma?", "Jane Austen."), ("Is it open?", "Yes, until six."))
    ]
    assert (await written(tmp_path, *given, alike=0.5)).counts.rows == 2


@pytest.mark.parametrize("format", FORMATS)
async def test_every_format_says_what_its_rows_are_about(tmp_path: Path, format: str) -> None:
    fixed = CapturedRating("fb", at=1, correction="It is red.", user="ada")
    given = [rated(fixed, question="Which colour has the door?"), rated(fixed, question="Which colour has the door ??")]
    counts = (await written(tmp_path, *given, format=format, alike=0.9)).counts
    assert counts.near_duplicates == counts.rows


async def test_a_user_has_at_most_so_many_rows(tmp_path: Path) -> None:
    def by(rater: str, number: int) -> Completion:
        up = CapturedRating(f"fb_{rater}_{number}", at=1, thumb=True, user=rater)
        return rated(up, question=f"{rater} {number}", user="asker")

    given = [by("ada", i) for i in range(5)] + [by("ben", i) for i in range(2)]
    counts: Counter[str] = Counter()
    filters = Filters(tenant="acme")
    with ExportFolder(tmp_path / "out") as folder:
        order = Order("trl-sft", filters, {"train": 1.0}, per_user=3)
        manifest = await export(each([replace(one, user="") for one in given]), order, folder, None, rows_of=counts)
    assert (manifest.counts.rows, manifest.counts.over_share) == (5, 2)
    assert counts == {"ada": 3, "ben": 2}
