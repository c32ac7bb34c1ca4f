"""Versions: how they become ready, what never changes again, and who finds them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from serving.config import QuotaLimit
from serving.core.principal import Principal
from serving.hub.lineage import lineage
from serving.hub.upkeep import ABANDONED, HubUpkeep
from serving.quotas.quota import quota
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.jobs.queue import Jobs
from serving.store.quotas import QuotaStore
from tests.contract.hub.conftest import ALICE, MALLORY, WANTED, Hub

SHA256 = hashlib.sha256(b"weights").hexdigest()


async def test_a_version_is_ready_once_its_artefacts_are_verified(hub: Hub) -> None:
    origin: dict[str, Any] = {"recipe": {"rank": 8}, "provenance": {"code": "abc", "seed": 1}}
    made = await hub.versions.begin(ALICE, **WANTED, method="sft", rank=8, **origin)
    assert (made.status, made.number, made.artefacts, made.card, made.created_by) == ("building", 1, (), None, "alice")
    assert (made.recipe, made.provenance) == (origin["recipe"], origin["provenance"])
    with pytest.raises(Conflict, match="no artefacts"):
        await hub.versions.finish(ALICE, made.id)
    await hub.versions.add(ALICE, made.id, "adapter.gguf", hub.file)
    added = await hub.versions.add(ALICE, made.id, "adapter.gguf", hub.file)  # again, as a job does that was killed
    assert (added.name, added.bytes, added.sha256) == ("adapter.gguf", 7, SHA256)
    ready = await hub.versions.finish(ALICE, made.id)
    assert (ready.status, ready.artefacts, ready.bytes) == ("ready", (added,), 7)
    assert ready.ready_at is not None
    assert await hub.versions.get(ALICE, made.id) == ready
    artefact, content = await hub.versions.artefact(ALICE, made.id, "adapter.gguf")
    assert (artefact, b"".join([chunk async for chunk in content])) == (added, b"weights")
    assert hub.stored() == {f"{made.id}/adapter.gguf"}


async def test_a_damaged_artefact_is_never_ready(hub: Hub) -> None:
    made = await hub.versions.begin(ALICE, **WANTED, method="registered")
    await hub.versions.add(ALICE, made.id, "adapter.gguf", hub.file)
    path = hub.root / made.id / "adapter.gguf"
    for damage, message in ((lambda: path.write_bytes(b"weightz"), "is damaged"), (path.unlink, "is missing")):
        damage()
        with pytest.raises(Conflict, match=message):
            await hub.versions.finish(ALICE, made.id)
    assert (await hub.versions.get(ALICE, made.id)).status == "building"


async def test_a_ready_version_cannot_be_changed(hub: Hub) -> None:
    ready = await hub.version()
    for call in (
        hub.versions.add(ALICE, ready.id, "other", hub.file),
        hub.versions.finish(ALICE, ready.id),
        hub.versions.reject(ALICE, ready.id, "no"),
        hub.versions.delete_artefacts(ALICE, ready.id),
    ):
        with pytest.raises(Conflict):
            await call
    assert await hub.versions.get(ALICE, ready.id) == ready
    await hub.versions.put_card(ALICE, ready.id, {"win_rate": 0.9})
    assert await hub.versions.get(ALICE, ready.id) == replace(ready, card={"win_rate": 0.9})


async def test_what_its_job_measured_stays_on_a_versions_card(hub: Hub) -> None:
    measured = {"measured": {"kl": 0.004}}
    made = await hub.versions.begin(ALICE, **WANTED, method="registered", card=measured)
    assert made.card == measured
    await hub.versions.add(ALICE, made.id, "adapter.gguf", hub.file)
    await hub.versions.finish(ALICE, made.id)
    for card in ({"win_rate": 0.9}, {"win_rate": 0.8}):
        await hub.versions.put_card(ALICE, made.id, card)
        assert (await hub.versions.get(ALICE, made.id)).card == card | measured


async def test_a_version_is_rejected_or_retired_according_to_its_status(hub: Hub) -> None:
    ready, building = await hub.version(), await hub.versions.begin(ALICE, **WANTED, method="sft")
    await hub.versions.add(ALICE, building.id, "adapter.gguf", hub.file)
    with pytest.raises(Conflict, match="is building"):
        await hub.versions.retire(ALICE, building.id, "")
    rejected = await hub.versions.reject(ALICE, building.id, "rank too high")
    assert (rejected.status, rejected.reason, rejected.bytes) == ("rejected", "rank too high", 0)
    assert hub.stored() == {f"{ready.id}/adapter.gguf"}
    retired = await hub.versions.retire(ALICE, ready.id, "old")
    assert (retired.status, retired.reason, retired.bytes) == ("retired", "old", 7)
    assert await hub.versions.retire(ALICE, ready.id, "again") == retired
    with pytest.raises(Conflict, match="is retired"):
        await hub.versions.put_card(ALICE, ready.id, {})
    gone = await hub.versions.delete_artefacts(ALICE, ready.id)
    assert (gone.bytes, gone.artefacts) == (0, ready.artefacts)
    assert hub.stored() == set()
    with pytest.raises(NotFound):
        await hub.versions.artefact(ALICE, ready.id, "adapter.gguf")


async def test_numbers_go_up_for_each_name_of_a_tenant(hub: Hub) -> None:
    made = await asyncio.gather(*(hub.versions.begin(ALICE, **WANTED, method="sft") for _ in range(4)))
    assert sorted(each.number for each in made) == [1, 2, 3, 4]
    assert (await hub.versions.begin(MALLORY, **WANTED, method="sft")).number == 1
    assert (await hub.versions.begin(ALICE, **(WANTED | {"name": "other"}), method="sft")).number == 1


async def test_another_tenants_version_is_not_found(hub: Hub) -> None:
    made = await hub.version()
    for principal, id in ((MALLORY, made.id), (ALICE, "mver_none"), (ALICE, "\0")):
        for call in (
            hub.versions.get(principal, id),
            hub.versions.add(principal, id, "a", hub.file),
            hub.versions.finish(principal, id),
            hub.versions.reject(principal, id, ""),
            hub.versions.retire(principal, id, ""),
            hub.versions.delete_artefacts(principal, id),
            hub.versions.put_card(principal, id, {}),
            hub.versions.artefact(principal, id, "adapter.gguf"),
            hub.versions.begin(principal, **WANTED, method="sft", parents=[id]),
            lineage(hub.database, principal, id),
        ):
            with pytest.raises(NotFound):
                await call
    assert (await hub.versions.list(MALLORY)).items == []
    assert await hub.versions.get(ALICE, made.id) == made


BAD: list[tuple[str, object]] = [
    *(("name", bad) for bad in ("", "Docs", "-a", "a-", "a/b", "..", "a" * 49, "ä", "a\0")),
    ("kind", "lora"),
    ("method", "magic"),
    ("base", ""),
    ("base_digest", "0" * 63),
    ("recipe", {"a": "b" * (1 << 20)}),
    ("recipe", {"a": "\0"}),
    ("provenance", {"a": object()}),
    ("parents", [f"mver_{n}" for n in range(17)]),
]


async def test_invalid_settings_of_a_version_are_rejected(hub: Hub) -> None:
    for param, value in BAD:
        with pytest.raises(InvalidValue) as e:
            await hub.versions.begin(ALICE, **(WANTED | {"method": "sft", param: value}))
        assert e.value.param == param
    assert (await hub.versions.list(ALICE)).items == []


async def test_versions_are_listed_by_name_kind_and_status(hub: Hub) -> None:
    first, second = await hub.version(), await hub.version(name="other", kind="model")
    await hub.versions.retire(ALICE, second.id, "")
    for given, expected in (
        ({}, [second.id, first.id]),
        ({"name": "other"}, [second.id]),
        ({"kind": "adapter"}, [first.id]),
        ({"status": "ready"}, [first.id]),
        ({"after": second.id}, [first.id]),
    ):
        found = await hub.versions.list(ALICE, **given)  # type: ignore[arg-type]
        assert [each.id for each in found.items] == expected


async def test_lineage_goes_up_and_down(hub: Hub) -> None:
    dataset = await hub.dataset("bob")
    teacher = await hub.version(name="teacher", kind="model")
    student = await hub.version(parents=[teacher.id, teacher.id], dataset=dataset.id)
    small = await hub.version(name="small", parents=[student.id])
    await hub.version(name="unrelated")
    found = await lineage(hub.database, ALICE, student.id)
    assert found.version.parents == (teacher.id,)
    assert [[each.id for each in each] for each in (found.ancestors, found.descendants)] == [[teacher.id], [small.id]]
    assert [each.id for each in found.datasets] == [dataset.id]
    found = await lineage(hub.database, ALICE, teacher.id)
    assert [each.id for each in found.descendants] == [student.id, small.id]


async def test_only_what_is_ready_has_children(hub: Hub) -> None:
    parent, dataset = await hub.version(), await hub.dataset("bob")
    await hub.versions.retire(ALICE, parent.id, "")
    await hub.datasets.retire(ALICE, dataset.id, "")
    building = await hub.versions.begin(ALICE, **WANTED, method="sft")
    for given in ({"parents": [parent.id]}, {"parents": [building.id]}, {"dataset": dataset.id}):
        with pytest.raises(Conflict, match="not ready"):
            await hub.versions.begin(ALICE, **WANTED, method="sft", **given)  # type: ignore[arg-type]


async def test_a_cancelled_job_makes_no_version(hub: Hub) -> None:
    jobs = Jobs(hub.database)
    job = await jobs.enqueue(ALICE, "tune", {})
    await jobs.claim(["tune"], "worker", 30)
    made = await hub.versions.begin(ALICE, **WANTED, method="sft", job=job.id)
    await hub.versions.add(ALICE, made.id, "adapter.gguf", hub.file)
    assert await hub.versions.of_job(ALICE, job.id) is None
    await jobs.cancel(ALICE, job.id)
    with pytest.raises(Conflict, match="its job was cancelled"):
        await hub.versions.finish(ALICE, made.id)


async def test_remains_of_crashed_jobs_are_removed(hub: Hub) -> None:
    jobs, upkeep = Jobs(hub.database), HubUpkeep(hub.database, hub.artefacts)
    job = await jobs.enqueue(ALICE, "tune", {})
    ready, dataset = await hub.version(), await hub.dataset("bob")
    working = await hub.versions.begin(ALICE, **WANTED, method="sft", job=job.id)
    left = await hub.versions.begin(ALICE, **WANTED, method="sft")
    frozen = await hub.datasets.begin(ALICE, format="sft")
    for each in (working, left):
        await hub.versions.add(ALICE, each.id, "adapter.gguf", hub.file)
    for path in ("mver_gone/adapter.gguf", f"{left.id}/.tmp-blob_1", "live/smollm2.json"):
        (hub.root / path).parent.mkdir(exist_ok=True)
        (hub.root / path).write_bytes(b"x")
    await upkeep.tidy()  # all of it is new
    assert (await hub.versions.get(ALICE, left.id)).status == "building"
    assert "mver_gone/adapter.gguf" in hub.stored()
    await upkeep.tidy(older_than_s=-1)
    ended = await hub.versions.get(ALICE, left.id)
    assert (ended.status, ended.reason) == ("rejected", ABANDONED)
    assert (await hub.datasets.get(ALICE, frozen.id)).status == "retired"
    assert (await hub.versions.get(ALICE, working.id)).status == "building"
    kept = {f"{each.id}/adapter.gguf" for each in (ready, working)} | {f"{dataset.id}/train.jsonl"}
    assert hub.stored() == kept | {"live/smollm2.json"}


async def test_stored_bytes_are_those_that_are_left(hub: Hub) -> None:
    limit = QuotaLimit(window="total", measure="stored_bytes", limit=100)
    of_tenant, of_bob = quota("acme", "tenant", "acme", limit), quota("acme", "user", "bob", limit)
    made = await hub.version()
    await hub.dataset("bob")
    await hub.version(Principal("acme", "bob", "key_b"))
    standing = await QuotaStore(hub.database).stored_bytes([of_tenant, of_bob])
    assert [standing[each.id].used for each in (of_tenant, of_bob)] == [21, 7]
    await hub.versions.retire(ALICE, made.id, "")
    await hub.versions.delete_artefacts(ALICE, made.id)
    standing = await QuotaStore(hub.database).stored_bytes([of_tenant])
    assert standing[of_tenant.id].used == 14
