"""Data sets: frozen by their digest, with the people in them; and what is left when one of these is forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.hub import forgetting
from serving.hub.evaluation.answers import Answer
from serving.hub.evaluation.scoring import Score
from serving.hub.evaluations import Evaluation, Evaluations
from serving.hub.forgetting import CREATOR_FORGOTTEN, INTERRUPTED, REASON, Forgetting
from serving.hub.jobs.freezing import FREEZE
from serving.hub.jobs.tuning import TUNE
from serving.hub.lineage import lineage
from serving.hub.retraining import Retraining
from serving.hub.suites import Suites
from serving.protocol.suites import Suite
from serving.store.errors import Conflict, InvalidValue, LeaseLost, NotFound
from serving.store.jobs.queue import Job, Jobs
from tests.contract.hub.conftest import ALICE, MALLORY, WANTED, Hub
from tests.hub.people import datasets_of_person

FROZEN: dict[str, Any] = {"digest": "a" * 64, "manifest": {}, "counts": {}}
BOB = Principal(tenant="acme", user="bob", key_id="key_b")


async def test_a_data_set_is_ready_once_its_files_are_verified(hub: Hub) -> None:
    made = await hub.datasets.begin(ALICE, format="dpo")
    with pytest.raises(Conflict, match="no files"):
        await hub.datasets.finish(ALICE, made.id, people=["bob"], **FROZEN)
    file = await hub.datasets.add(ALICE, made.id, "train.jsonl", hub.file)
    (hub.root / made.id / "train.jsonl").write_bytes(b"changed")
    with pytest.raises(Conflict, match="damaged"):
        await hub.datasets.finish(ALICE, made.id, people=["bob"], **FROZEN)
    await hub.datasets.add(ALICE, made.id, "train.jsonl", hub.file)
    with pytest.raises(InvalidValue, match="digest"):
        await hub.datasets.finish(ALICE, made.id, people=["bob"], **(FROZEN | {"digest": "?"}))
    ready = await hub.datasets.finish(ALICE, made.id, people=["bob", "bob"], **FROZEN)
    assert (ready.status, ready.digest, ready.files, ready.bytes) == ("ready", "a" * 64, (file,), 7)
    for call in (
        hub.datasets.add(ALICE, made.id, "other", hub.file),
        hub.datasets.finish(ALICE, made.id, people=[], **FROZEN),
    ):
        with pytest.raises(Conflict, match="is ready"):
            await call
    assert await hub.datasets.get(ALICE, made.id) == ready
    assert (await hub.datasets.list(ALICE, status="ready")).items == [ready]
    assert await datasets_of_person(hub.database, ALICE, "bob") == [made.id]
    retired = await hub.datasets.retire(ALICE, made.id, "old")
    assert (retired.status, retired.bytes, hub.stored()) == ("retired", 0, set())


async def test_another_tenants_data_set_is_not_found(hub: Hub) -> None:
    made = await hub.dataset("mallory")
    for call in (
        hub.datasets.get(MALLORY, made.id),
        hub.datasets.add(MALLORY, made.id, "a", hub.file),
        hub.datasets.finish(MALLORY, made.id, people=[], **FROZEN),
        hub.datasets.retire(MALLORY, made.id, ""),
        hub.versions.begin(MALLORY, **WANTED, method="sft", dataset=made.id),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await hub.datasets.list(MALLORY)).items == []
    assert await datasets_of_person(hub.database, MALLORY, "mallory") == []


async def test_forgetting_ends_all_that_was_made_of_a_persons_data(hub: Hub) -> None:
    theirs, others = await hub.dataset("alice", "bob"), await hub.dataset("carol")
    namesake = await hub.dataset("bob", principal=MALLORY)
    kept = await hub.version(dataset=others.id)
    first = await hub.version(BOB, name="first", dataset=theirs.id)
    await hub.versions.put_card(ALICE, first.id, {"quotes": "Bob said so"})
    merged = await hub.version(name="merged", kind="model", method="quantise", parents=[first.id, kept.id])
    training = await hub.versions.begin(ALICE, **WANTED, method="sft", dataset=theirs.id)
    await hub.versions.add(ALICE, training.id, "checkpoint", hub.file)
    frozen = await hub.datasets.begin(BOB, format="sft")
    await hub.datasets.add(ALICE, frozen.id, "train.jsonl", hub.file)
    by_bob = await hub.version(BOB, name="uploaded", method="registered")
    before = [kept, await hub.versions.get(ALICE, by_bob.id)]

    erasure = Forgetting(hub.database, hub.artefacts, hub.live)
    for _ in range(2):  # it is repeated after a crash
        await erasure.forget(await job(hub), "bob")

    ended = {each.id: each for each in [await hub.versions.get(ALICE, v.id) for v in (first, merged, training)]}
    assert [(each.status, each.reason) for each in ended.values()] == [
        ("retired", REASON),
        ("retired", REASON),
        ("rejected", INTERRUPTED),
    ]
    assert {(each.bytes, each.card) for each in ended.values()} == {(0, None)}
    assert (await hub.datasets.get(ALICE, theirs.id)).status == "retired"
    interrupted = await hub.datasets.get(ALICE, frozen.id)
    assert (interrupted.status, interrupted.reason, interrupted.created_by) == ("retired", INTERRUPTED, None)
    with pytest.raises(Conflict, match="is retired"):
        await hub.datasets.finish(ALICE, frozen.id, people=["bob"], **FROZEN)
    with pytest.raises(Conflict, match="is rejected"):
        await hub.versions.finish(ALICE, training.id)
    assert [each.status for each in before] == ["ready", "ready"]
    assert (await hub.versions.get(ALICE, by_bob.id)).created_by is None
    assert hub.stored() == {
        f"{kept.id}/adapter.gguf",
        f"{by_bob.id}/adapter.gguf",
        f"{others.id}/train.jsonl",
        f"{namesake.id}/train.jsonl",
    }
    assert await datasets_of_person(hub.database, ALICE, "bob") == []
    assert await datasets_of_person(hub.database, MALLORY, "bob") == [namesake.id]
    assert await datasets_of_person(hub.database, ALICE, "alice") == [theirs.id]


async def test_an_erasure_tunes_models_again_without_the_person(hub: Hub) -> None:
    jobs = Jobs(hub.database)
    retraining = Retraining(jobs, hub.datasets)
    rows = {"format": "trl-sft", "assistant": "docs", "per_user": 5}
    given = {"digest": "a" * 64, "counts": {}, "people": ["bob"]}

    async def frozen(asked: dict[str, Any]) -> str:
        made = await hub.datasets.begin(ALICE, format="trl-sft")
        await hub.datasets.add(ALICE, made.id, "train.jsonl", hub.file)
        return (await hub.datasets.finish(ALICE, made.id, manifest={"request": asked}, **given)).id

    recipe = {"steps": 7, "epochs": None, "rank": 4, "teacher": None, "retain": None}
    theirs = await frozen(rows)
    await hub.version(dataset=theirs, recipe=recipe | {"steps": 6})
    newest = await hub.version(dataset=theirs, recipe=recipe)
    uploaded = await frozen({"format": "trl-sft", "file": "file_" + "0" * 32})
    await hub.version(name="uploaded", dataset=uploaded, recipe=recipe)
    await hub.version(name="small", kind="model", method="quantise", parents=[newest.id], recipe={"type": "Q4_0"})
    superseded = await hub.version(name="atlas", dataset=theirs, recipe=recipe)
    other = await hub.dataset("carol")
    await hub.version(name="atlas", dataset=other.id, recipe=recipe)
    running = {"method": "dpo", "name": "running", "base": "smollm2", "dataset": theirs, "recipe": {"beta": 0.2}}
    started = await jobs.enqueue(ALICE, TUNE, {"request": running})

    forgetting = Forgetting(hub.database, hub.artefacts, hub.live, retraining)
    await forgetting.forget(await job(hub), "bob")

    assert (await hub.versions.get(ALICE, superseded.id)).status == "retired"
    queued = [each for each in (await jobs.list(ALICE, kind=TUNE)).items if each.id != started.id]
    asked = {each.payload["request"]["name"]: each.payload["request"] for each in queued}
    assert (len(queued), asked.keys()) == (2, {"docs", "running"})
    assert {each.user for each in queued} == {"retraining"}
    assert asked["docs"]["recipe"] == {"steps": 7, "rank": 4}
    assert asked["running"]["recipe"] == {"beta": 0.2}
    freezing = {
        each.payload["dataset"]: each.payload["request"] for each in (await jobs.list(ALICE, kind=FREEZE)).items
    }
    assert [*freezing.values()] == [rows, rows]
    assert {each["dataset"] for each in asked.values()} == freezing.keys()

    # Whoever is forgotten meanwhile ends what is building, and it begins again; so it is after a crash.
    await forgetting.forget(await job(hub), "carol")
    again = [each for each in (await jobs.list(ALICE, kind=FREEZE)).items if each.payload["dataset"] not in freezing]
    assert [each.payload["request"] for each in again] == [rows, rows]


async def test_an_erasure_waits_for_jobs_with_rows_of_the_person(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "LOOK_S", 0.01)
    jobs, dataset = Jobs(hub.database), await hub.dataset("bob")
    await jobs.enqueue(ALICE, TUNE, {"request": {"dataset": dataset.id}})
    tuning = await jobs.claim([TUNE], "worker", 60)
    assert tuning is not None
    erasing = asyncio.create_task(Forgetting(hub.database, hub.artefacts, hub.live).forget(await job(hub), "bob"))
    while (await hub.datasets.get(ALICE, dataset.id)).status != "retired":
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert not erasing.done()
    await jobs.fail(tuning, "gone", retryable=False)
    await erasing
    assert hub.stored() == set()


async def test_a_data_set_that_was_retired_is_remembered(hub: Hub) -> None:
    dataset = await hub.dataset("bob")
    version = await hub.version(dataset=dataset.id)
    await hub.datasets.retire(ALICE, dataset.id, "old")
    await Forgetting(hub.database, hub.artefacts, hub.live).forget(await job(hub), "bob")
    assert (await hub.versions.get(ALICE, version.id)).reason == REASON
    assert (await hub.datasets.get(ALICE, dataset.id)).reason == "old"
    assert hub.stored() == set()


async def test_rows_that_a_version_had_to_keep_are_forgotten_as_those_it_learnt(hub: Hub) -> None:
    learnt, retained = await hub.dataset("carol"), await hub.dataset("bob")
    version = await hub.version(dataset=learnt.id, recipe={"retain": retained.id})
    assert [each.id for each in (await lineage(hub.database, ALICE, version.id)).datasets] == sorted(
        (learnt.id, retained.id)
    )
    await Forgetting(hub.database, hub.artefacts, hub.live).forget(await job(hub), "bob")
    assert (await hub.versions.get(ALICE, version.id)).reason == REASON
    assert hub.stored() == {f"{learnt.id}/train.jsonl"}
    with pytest.raises(Conflict, match="data set is retired"):
        await hub.version(dataset=learnt.id, recipe={"retain": retained.id})


async def test_answers_are_forgotten_with_who_asked_and_with_what_answered(hub: Hub) -> None:
    evaluations = Evaluations(hub.database, Jobs(hub.database), hub.versions)
    asked = {"id": "p", "messages": "?", "checks": [{"kind": "exact", "text": "x"}]}
    suite = await Suites(hub.database).create(ALICE, Suite.model_validate({"name": "s", "prompts": [asked]}))
    version = await hub.version(dataset=(await hub.dataset("bob")).id)

    async def start(who: Principal, version: str | None = None) -> Evaluation:
        made = await evaluations.create(who, suite.id, "m", against=None, version=version, caller={})
        await evaluations.keep(made, answered)
        return made

    answered = Score(0, Answer("Bob lives in Rome."), None, None, None, None)
    running, measured, other = await start(BOB), await start(ALICE, version.id), await start(ALICE)
    await evaluations.complete(measured, {"candidate": "m"})
    await Forgetting(hub.database, hub.artefacts, hub.live).forget(await job(hub), "bob")
    assert [len(await evaluations.scores(each.id)) for each in (running, measured, other)] == [0, 0, 1]
    ended = await evaluations.get(ALICE, running.id)
    assert (ended.status, ended.error) == ("failed", CREATOR_FORGOTTEN)
    assert (await evaluations.get(ALICE, measured.id)).card is None
    with pytest.raises(LeaseLost):  # the gateway that runs it learns of it by this
        await evaluations.keep(running, replace(answered, number=1))


async def job(hub: Hub) -> Job:
    """An erasure's."""
    return await Jobs(hub.database).enqueue(ALICE, new_id("erase"), {})
