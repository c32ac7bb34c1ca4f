"""A user who is forgotten goes from exports that were written, and nobody else does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.exports.completion import CapturedRating, Rival
from serving.exports.export import Order, export
from serving.exports.folder import ExportFolder
from serving.exports.forgetting import CannotForget, forget, people, person
from serving.exports.manifest import ExportManifest, Filters
from serving.exports.splits import parse
from tests.unit.exports.making import rated
from tests.unit.exports.test_export import each

USERS = ("alice", "bob", "carol")


async def written(folder: Path, *askers: tuple[str, str], split: str = "train=1") -> ExportManifest:
    """An export of a row for each pair of who asked and who rated."""
    made = [
        rated(CapturedRating(f"fb_{n}", at=1, thumb=True, user=rater), question=f"{n} {asker} {rater}?", user=asker)
        for n, (asker, rater) in enumerate(askers)
    ]
    order = Order("trl-sft", Filters(tenant="acme"), parse(split))
    with ExportFolder(folder) as out:
        return await export(each(made), order, out, None)


def manifest_of(folder: Path) -> ExportManifest:
    return ExportManifest.model_validate_json((folder / "manifest.json").read_bytes())


def check(folder: Path) -> list[str]:
    """Returns the questions of an export whose files are as its manifest says."""
    manifest, questions = manifest_of(folder), []
    assert sorted(p.name for p in folder.iterdir()) == sorted([*(f.name for f in manifest.files), "manifest.json"])
    for file in manifest.files:
        content = (folder / file.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
        rows: list[dict[str, Any]] = [json.loads(line) for line in content.splitlines()]
        assert len(rows) == file.rows
        if file.kind == "rows":
            questions += [row["messages"][-2]["content"] for row in rows]
    assert manifest.counts.rows == len(questions)
    return questions


@given(st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(USERS)), min_size=1, max_size=12), st.booleans())
async def test_erased_users_are_in_no_row(
    tmp_path_factory: pytest.TempPathFactory, askers: list[tuple[str, str]], halves: bool
):
    folder = tmp_path_factory.mktemp("export") / "out"
    manifest = await written(folder, *askers, split="train=0.5,test=0.5" if halves else "train=1")
    salt = str(manifest.people_salt)
    assert people(folder, manifest) == {person(salt, "acme", user) for pair in askers for user in pair}
    before = check(folder)
    theirs = [question for question in before if "alice" in question]
    assert forget(folder, "acme", "alice") == len(theirs)
    assert check(folder) == [question for question in before if question not in theirs]
    assert manifest_of(folder).forgotten == len(theirs)
    assert forget(folder, "acme", "alice") == 0
    assert b"alice" not in b"".join(path.read_bytes() for path in folder.iterdir())


async def test_users_of_rejected_answers_are_erased_too(tmp_path: Path):
    rival = Rival("r", "It is green.", True, "bob")
    choice = rated(CapturedRating("fb", at=1, preferred=True, rival=rival, user="carol"), user="alice")
    for user in USERS:
        folder = tmp_path / user
        with ExportFolder(folder) as out:
            await export(each([choice]), Order("trl-preference", Filters(tenant="acme"), parse("train=1")), out, None)
        assert forget(folder, "other", user) == 0
        assert forget(folder, "acme", "nobody") == 0
        assert forget(folder, "acme", user) == 1


async def test_pseudonyms_differ_between_exports(tmp_path: Path):
    made = [await written(tmp_path / name, ("alice", "alice")) for name in ("a", "b")]
    assert people(tmp_path / "a", made[0]).isdisjoint(people(tmp_path / "b", made[1]))


async def test_incomplete_exports_are_rejected(tmp_path: Path):
    with pytest.raises(CannotForget, match="not a complete export"):
        forget(tmp_path, "acme", "alice")
    folder = tmp_path / "out"
    manifest = await written(folder, ("alice", "bob"), ("bob", "bob"))
    lineage = folder / "train.lineage.jsonl"
    whole = lineage.read_bytes()
    for damaged in (whole.splitlines(keepends=True)[0], b"{}\n{}\n", b"x\ny\n"):
        lineage.write_bytes(damaged)
        with pytest.raises(CannotForget, match="damaged"):
            forget(folder, "acme", "alice")
    lineage.write_bytes(whole)
    old = manifest.model_copy(update={"people_salt": None})
    (folder / "manifest.json").write_text(old.model_dump_json())
    with pytest.raises(CannotForget, match="earlier version of Headrace"):
        forget(folder, "acme", "alice")
