"""Which adapters are live: changed by one writer after the other, within bounds, and ended with their versions."""

from __future__ import annotations

import asyncio

import pytest

from serving.config import AdapterBounds
from serving.core.ids import now
from serving.hub import live as module
from serving.hub.live import live_adapter, live_name
from serving.store.errors import Conflict, InvalidValue
from serving.store.objects.live_adapters import Report
from tests.contract.hub.conftest import ALICE, MALLORY, Hub

BOUNDS = AdapterBounds(max=3, rank=16)
BASE = "smollm2"


async def names(hub: Hub) -> list[str]:
    return [adapter.name for adapter in (await hub.live.read(BASE)).adapters]


async def test_adapters_of_ready_versions_become_live_within_the_bounds(hub: Hub) -> None:
    first, second, third, fourth = [await hub.version(rank=8) for _ in range(4)]
    live = await hub.live.add(BASE, BOUNDS, live_adapter(first))
    [entry] = live.adapters
    assert (entry.name, entry.version, entry.rank, entry.tenants) == ("acme.docs.1", first.id, 8, ("acme",))
    assert [(each.name, each.sha256) for each in entry.artefacts] == [
        ("adapter.gguf", first.artefacts[0].sha256),
    ]
    with hub.sets.open(entry, entry.artefacts[0]) as file:
        assert file.read() == b"weights"
    assert await hub.live.add(BASE, BOUNDS, entry) == live, "no change, no revision"
    high = await hub.version(rank=32)
    with pytest.raises(InvalidValue, match="must be at most 16"):
        await hub.live.add(BASE, BOUNDS, live_adapter(high))
    building = await hub.versions.begin(
        ALICE, name="docs", kind="adapter", base=BASE, base_digest="0" * 64, method="sft", rank=8
    )
    with pytest.raises(Conflict, match=f"the version {building.id} is not ready"):
        await hub.live.add(BASE, BOUNDS, live_adapter(building))
    for version in (second, third):
        await hub.live.add(BASE, BOUNDS, live_adapter(version))
    with pytest.raises(Conflict, match="the model smollm2 serves at most 3 adapters"):
        await hub.live.add(BASE, BOUNDS, live_adapter(fourth))
    await hub.live.remove(BASE, ["acme.docs.2", "acme.none.1"])
    assert await names(hub) == ["acme.docs.1", "acme.docs.3"]
    assert (await hub.live.read(BASE)).revision == 4


async def test_one_tenant_cannot_take_the_places_of_others(hub: Hub) -> None:
    bounds = AdapterBounds(max=3, per_tenant=2)
    first, second, third = [live_adapter(await hub.version(MALLORY, rank=8)) for _ in range(3)]
    for adapter in (first, second):
        await hub.live.add(BASE, bounds, adapter)
    with pytest.raises(Conflict, match="smollm2 serves at most 2 adapters of one tenant"):
        await hub.live.add(BASE, bounds, third)
    await hub.live.add(BASE, bounds, live_adapter(await hub.version(rank=8)))
    await hub.live.remove(BASE, [first.name])
    await hub.live.add(BASE, bounds, third)
    assert await names(hub) == [second.name, "acme.docs.1", third.name]
    lowered = AdapterBounds(max=3, per_tenant=1)
    await hub.live.remove(BASE, ["acme.docs.1"])
    await hub.live.add(BASE, lowered, live_adapter(await hub.version(rank=8)))
    assert len(await names(hub)) == 3, "a lower bound ends nothing, and concerns only its own tenant"


async def test_changes_at_once_are_made_one_after_the_other(hub: Hub) -> None:
    bounds = AdapterBounds(max=8)
    versions = [await hub.version(rank=8) for _ in range(8)]
    await asyncio.gather(*(hub.live.add(BASE, bounds, live_adapter(version)) for version in versions))
    live = await hub.live.read(BASE)
    assert live.revision == 8
    assert {adapter.version for adapter in live.adapters} == {version.id for version in versions}


async def test_a_retired_version_ends(hub: Hub) -> None:
    kept, retired = [await hub.version(rank=8) for _ in range(2)]
    for version in (kept, retired):
        await hub.live.add(BASE, BOUNDS, live_adapter(version))
    assert await hub.live.end([BASE, "other"]) == []
    await hub.versions.retire(ALICE, retired.id, "worse")
    assert await hub.live.end([BASE, "other"]) == ["acme.docs.2"]
    assert await names(hub) == ["acme.docs.1"]


async def test_a_version_is_unloaded_once_every_replica_says_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    gone, kept = [await hub.version(rank=8) for _ in range(2)]
    name, other = (live_name(each.tenant, each.name, each.number) for each in (gone, kept))
    for version in (gone, kept):
        await hub.live.add(BASE, BOUNDS, live_adapter(version))
    assert not await hub.live.loaded(BASE, other)

    def report(replica: str, revision: int, loaded: tuple[str, ...] = (), leaving: tuple[str, ...] = ()) -> None:
        hub.sets.report(BASE, Report(replica, revision, loaded, leaving, at=now()))

    report("a", 2, (name, other))
    report("b", 2, (other,))
    assert await hub.live.loaded(BASE, other)
    assert not await hub.live.loaded(BASE, name)
    unloading = asyncio.create_task(hub.live.unload([gone.id]))
    for replica, revision, loaded, leaving in (
        ("b", 3, (other,), ()),  # a still has it
        ("a", 2, (other,), ()),  # a may still load it
        ("a", 3, (other,), (name,)),  # a answers last requests
    ):
        report(replica, revision, loaded, leaving)
        await asyncio.sleep(0.1)
        assert not unloading.done()
    report("a", 3, (other,))
    await asyncio.wait_for(unloading, 60)
    assert await names(hub) == [other]
    await hub.live.unload([gone.id])  # again, after a crash
