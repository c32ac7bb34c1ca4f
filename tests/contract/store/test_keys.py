"""Keys at rest: whose they are, their rotation, and when they were used."""

from __future__ import annotations

import asyncio

import pytest

from serving.core.principal import Principal
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.keys import MAX_OVERLAP_S, USED_S, Keys
from serving.store.relational.database import Database
from serving.store.tenants import Tenants
from serving.store.users import Users

ALICE = Principal(tenant="acme", user="alice", key_id="")
EVIL = Principal(tenant="evil", user="mallory", key_id="")


@pytest.fixture
async def keys(database: Database) -> Keys:
    for who in (ALICE, EVIL):
        await Tenants(database).create(who.tenant)
        await Users(database).create(who, who.user)
    return Keys(database)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    monkeypatch.setattr("serving.store.keys.now", lambda: time[0])
    return time


async def test_keys_require_an_existing_user(keys: Keys) -> None:
    for user in ("bob", "mallory", "\0"):
        with pytest.raises((NotFound, InvalidValue)):
            await keys.add(ALICE, "a" * 64, user=user)
    assert (await keys.list(ALICE)).items == []
    with pytest.raises(InvalidValue, match="scopes"):
        await keys.add(ALICE, "a" * 64, scopes=["inference", "root"])
    made = await keys.add(ALICE, "a" * 64, scopes=["data", "inference", "data"])
    assert made.scopes == ["data", "inference"]


async def test_keys_have_the_users_current_role(keys: Keys, database: Database) -> None:
    await keys.add(ALICE, "a" * 64)
    users, tenants = Users(database), Tenants(database)

    async def held() -> tuple[str, list[str], bool]:
        found = await keys.by_hash("a" * 64)
        assert found is not None
        return found.role, found.groups, found.disabled

    assert await held() == ("user", [], False)
    await users.update(ALICE, "alice", role="operator", groups=["g"])
    assert await held() == ("operator", ["g"], False)
    await users.update(ALICE, "alice", disabled=True)
    assert await held() == ("operator", ["g"], True)
    await users.update(ALICE, "alice", disabled=False)
    await tenants.update("acme", disabled=True)
    assert (await held())[2]
    await tenants.update("acme", disabled=False)
    assert not (await held())[2]
    assert await keys.by_hash("b" * 64) is None


async def test_keys_are_listed_by_user(keys: Keys, database: Database) -> None:
    await Users(database).create(ALICE, "bob")
    mine = await keys.add(ALICE, "a" * 64)
    bobs = await keys.add(ALICE, "b" * 64, user="bob")
    assert {k.id for k in (await keys.list(ALICE)).items} == {mine.id, bobs.id}
    assert [k.id for k in (await keys.list(ALICE, user="bob")).items] == [bobs.id]
    assert (await keys.list(ALICE, user="nobody")).items == []


async def test_rotation_overlaps(keys: Keys, clock: list[float]) -> None:
    old = await keys.add(ALICE, "a" * 64, name="ci", scopes=["inference"], expires_at=5000)
    clock[0] = 2000
    new = await keys.rotate(ALICE, old.id, "b" * 64, overlap_s=60)
    assert (new.user, new.name, new.scopes, new.expires_at) == ("alice", "ci", ["inference"], 6000)
    ending = await keys.get(ALICE, old.id)
    assert (ending.expires_at, ending.rotated_to) == (2060, new.id)
    assert ending.valid(2059)
    assert not ending.valid(2060)
    with pytest.raises(Conflict):
        await keys.rotate(ALICE, old.id, "c" * 64, overlap_s=60)
    # No overlap lengthens a key's life.
    clock[0] = 5990
    assert (await keys.rotate(ALICE, new.id, "d" * 64, overlap_s=1000)).expires_at == 9990
    assert (await keys.get(ALICE, new.id)).expires_at == 6000


async def test_invalid_rotations_are_rejected(keys: Keys, clock: list[float]) -> None:
    ended = await keys.add(ALICE, "a" * 64, expires_at=clock[0])
    revoked = await keys.add(ALICE, "b" * 64)
    await keys.revoke(ALICE, revoked.id)
    for id in (ended.id, revoked.id):
        with pytest.raises(Conflict):
            await keys.rotate(ALICE, id, "c" * 64, overlap_s=0)
    good = await keys.add(ALICE, "d" * 64)
    for overlap_s in (-1, MAX_OVERLAP_S + 1, float("nan")):
        with pytest.raises(InvalidValue):
            await keys.rotate(ALICE, good.id, "c" * 64, overlap_s=overlap_s)
    for id in (good.id, "key_none", "\0"):
        with pytest.raises(NotFound):
            await keys.rotate(EVIL, id, "c" * 64, overlap_s=0)
    assert await keys.by_hash("c" * 64) is None
    assert (await keys.rotate(ALICE, good.id, "c" * 64, overlap_s=0)).expires_at is None
    assert not (await keys.get(ALICE, good.id)).valid(clock[0])


async def test_one_of_two_concurrent_rotations_fails(keys: Keys) -> None:
    old = await keys.add(ALICE, "a" * 64)
    ends = await asyncio.gather(
        *(keys.rotate(ALICE, old.id, str(n) * 64, overlap_s=1) for n in range(3)), return_exceptions=True
    )
    assert sorted(type(end).__name__ for end in ends) == ["ApiKey", "Conflict", "Conflict"]
    assert len((await keys.list(ALICE)).items) == 2


async def test_the_stacks_own_key_is_the_stacks(keys: Keys) -> None:
    await keys.add_bootstrap("a" * 64)
    stack = Principal("default", "admin", "")
    [own] = (await keys.list(stack)).items
    for call in (keys.revoke(stack, own.id), keys.rotate(stack, own.id, "b" * 64, overlap_s=1)):
        with pytest.raises(Conflict, match="own key"):
            await call
    assert (await keys.get(stack, own.id)).valid(1e12)


async def test_last_use_is_recorded_once_a_minute(keys: Keys) -> None:
    one, two = await keys.add(ALICE, "a" * 64), await keys.add(ALICE, "b" * 64)

    async def noted() -> list[float | None]:
        return [(await keys.get(ALICE, key.id)).last_used_at for key in (one, two)]

    assert await noted() == [None, None]
    await keys.used([one.id], 1000)
    assert await noted() == [1000, None]
    await keys.used([one.id, two.id, "key_gone"], 1000 + USED_S - 1)
    assert await noted() == [1000, 1000 + USED_S - 1]
    await keys.used([two.id, one.id], 1000 + USED_S)
    assert await noted() == [1000 + USED_S, 1000 + USED_S - 1]
