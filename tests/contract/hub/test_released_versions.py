"""Versions of the hub that releases make live: which are, through releases, promotions and rollbacks of one alias."""

from __future__ import annotations

import pytest

from serving.config import AdapterBounds, Alias, Catalog, Managed, RemoteModel
from serving.core.uninterrupted import uninterrupted
from serving.hub import released_versions
from serving.hub.live import live_adapter, live_name
from serving.hub.released_versions import ReleasedVersions
from serving.hub.releases import Release, Releases
from serving.hub.versions import Version
from serving.store.errors import Conflict
from tests.contract.hub.conftest import ALICE, Hub

BOUNDS = {"smollm2": AdapterBounds(max=2, rank=16)}
MANAGED = Managed(base="smollm2")
CATALOG = Catalog(
    models=(RemoteModel(name="smollm2", url="http://127.0.0.1:9/v1"),), aliases=(Alias(name="chat", managed=MANAGED),)
)


class Releasing:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.releases = Releases(hub.database)
        self.versions = ReleasedVersions(hub.database, hub.versions, hub.live)
        self.versions.configure(CATALOG)

    async def begin(self, version: Version) -> Release:
        async def begin() -> Release:
            made = await self.releases.create(
                ALICE,
                "chat",
                live_adapter(version).name,
                managed=MANAGED,
                share=0.1,
                version=version.id,
                usable=lambda model: True,
            )
            await self.versions.serve(version, BOUNDS)
            return made

        return await uninterrupted(self.hub.database.atomically)(begin)

    async def live(self) -> set[str]:
        """The names that are live once everything is settled."""
        await self.versions.settle(BOUNDS)
        return {adapter.name for adapter in (await self.hub.live.read("smollm2")).adapters}


@pytest.fixture
def releasing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Releasing:
    monkeypatch.setattr(released_versions, "WITHDRAW_AFTER_S", -1.0)
    return Releasing(hub)


async def test_only_versions_for_a_rollback_stay_live(releasing: Releasing) -> None:
    first, second, third = [await releasing.hub.version(name="docs", rank=8) for _ in range(3)]
    one, two, three = (live_name("acme", "docs", number) for number in (1, 2, 3))
    change = releasing.releases.change
    begun = await releasing.begin(first)
    assert (begun.version, await releasing.live()) == (first.id, {one})
    await change(ALICE, begun.id, "promote")
    again = await releasing.begin(second)
    assert await releasing.live() == {one, two}
    await change(ALICE, again.id, "promote")
    assert await releasing.live() == {one, two}, "a rollback leads to the first"
    newest = await releasing.begin(third)
    assert await releasing.live() == {two, three}, "there is room for two"
    await change(ALICE, newest.id, "rollback")
    assert await releasing.live() == {one, two}
    await change(ALICE, again.id, "rollback")
    assert await releasing.live() == {one}
    assert await releasing.versions.needed() == {first.id}
    await change(ALICE, begun.id, "rollback")
    assert await releasing.live() == set()


async def test_a_version_stays_live_until_other_gateways_know_of_its_end(
    releasing: Releasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await releasing.begin(await releasing.hub.version(name="docs", rank=8))
    await releasing.releases.change(ALICE, begun.id, "rollback")
    with monkeypatch.context() as patch:
        patch.setattr(released_versions, "WITHDRAW_AFTER_S", 3600.0)
        assert await releasing.live() == {"acme.docs.1"}
    assert await releasing.live() == set()


async def test_the_later_end_of_two_releases_of_a_version_counts(
    releasing: Releasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, ends = await releasing.hub.version(name="docs", rank=8), []
    for _ in range(2):
        begun = await releasing.begin(version)
        ended = await releasing.releases.change(ALICE, begun.id, "rollback")
        ends.append(ended.ended_at)
    monkeypatch.setattr(released_versions, "WITHDRAW_AFTER_S", 0.0)
    monkeypatch.setattr(released_versions, "now", lambda: ends[0])
    assert await releasing.live() == {"acme.docs.1"}


async def test_retired_versions_and_those_of_other_aliases_are_left_alone(releasing: Releasing) -> None:
    served = await releasing.hub.version(name="other", rank=8)
    await releasing.hub.live.add("smollm2", BOUNDS["smollm2"], live_adapter(served))
    version = await releasing.hub.version(name="docs", rank=8)
    begun = await releasing.begin(version)
    await releasing.hub.versions.retire(ALICE, version.id, "worse")
    await releasing.hub.live.keep_ready(["smollm2"])
    assert await releasing.live() == {"acme.other.1"}, "nobody released it, and what has ended is not served again"
    await releasing.releases.change(ALICE, begun.id, "rollback")
    releasing.versions.configure(Catalog())
    assert await releasing.versions.needed() == set()
    with pytest.raises(Conflict, match="is not ready"):
        await releasing.versions.serve(version, BOUNDS)
    with pytest.raises(Conflict, match="takes no adapters"):
        await releasing.versions.serve(served, {})
