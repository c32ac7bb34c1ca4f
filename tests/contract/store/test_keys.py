"""Keys at rest: whose they are, their rotation, and when they were used."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable

import pytest

from serving.config.quotas import QuotaLimit
from serving.core.principal import Principal
from serving.quotas.quota import quota
from serving.store import keys as module
from serving.store.errors import Conflict, InvalidValue, NotFound, TooMany
from serving.store.keys import MAX_OVERLAP_S, MAX_REPLACED, USED_S, Keys
from serving.store.quotas import QuotaStore
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


async def rotated(keys: Keys, clock: list[float], id: str, times: int) -> list[str]:
    """Returns the ids of the key and of those that replaced it one after the other, each without an overlap."""
    ids = [id]
    for _ in range(times):
        clock[0] += 1
        ids.append((await keys.rotate(ALICE, ids[-1], secrets.token_hex(32), overlap_s=0)).id)
    return ids


async def kept(keys: Keys, ids: Iterable[str]) -> list[bool]:
    found = []
    for id in ids:
        try:
            found.append((await keys.get(ALICE, id)).id == id)
        except NotFound:
            found.append(False)
    return found


async def test_rotations_do_not_use_up_the_tenants_keys(
    keys: Keys, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    made = await keys.add(ALICE, "a" * 64)
    ids = await rotated(keys, clock, made.id, 5)
    await keys.add(ALICE, "b" * 64)
    with pytest.raises(TooMany, match="2 keys"):
        await keys.add(ALICE, "c" * 64)
    with pytest.raises(TooMany, match="2 keys"):
        await keys.rotate(ALICE, ids[-1], "c" * 64, overlap_s=60)
    await keys.revoke(ALICE, ids[-1])
    await keys.add(ALICE, "c" * 64)


async def test_few_replaced_keys_are_in_their_overlap(keys: Keys, clock: list[float]) -> None:
    ids = [(await keys.add(ALICE, "a" * 64)).id]
    for _ in range(MAX_REPLACED):
        ids.append((await keys.rotate(ALICE, ids[-1], secrets.token_hex(32), overlap_s=MAX_OVERLAP_S)).id)
    with pytest.raises(Conflict, match=f"{MAX_REPLACED} keys .* revoke one"):
        await keys.rotate(ALICE, ids[-1], "b" * 64, overlap_s=0)
    await keys.rotate(ALICE, (await keys.add(ALICE, "c" * 64)).id, "d" * 64, overlap_s=60)  # which replaces others
    await keys.revoke(ALICE, ids[3])
    await keys.rotate(ALICE, ids[-1], "b" * 64, overlap_s=0)


async def test_the_newest_ended_keys_of_each_user_are_kept(
    keys: Keys, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENDED", 3)
    monkeypatch.setattr(module, "PRUNED_TOGETHER", 2)
    once = await keys.add(ALICE, "a" * 64)
    await keys.revoke(ALICE, once.id)
    made = await keys.add(ALICE, "b" * 64)
    ids = await rotated(keys, clock, made.id, 9)
    others = await rotated(keys, clock, (await keys.add(ALICE, "c" * 64, confirmed=False)).id, 1)
    foreign = await keys.add(EVIL, "d" * 64)
    await keys.revoke(EVIL, foreign.id)
    assert await keys.prune() == 6
    # The first key of a rotation says who made it; the newest three, and the one in use.
    assert await kept(keys, ids) == [True, *[False] * 5, *[True] * 4]
    assert not (await kept(keys, [once.id]))[0]
    assert all(await kept(keys, others))
    assert await keys.get(EVIL, foreign.id)
    assert await keys.prune() == 0
    # Nothing refers to the first key once all have ended.
    await keys.revoke(ALICE, ids[-1])
    await keys.prune()
    assert await kept(keys, ids) == [*[False] * 7, *[True] * 3]


async def test_unconfirmed_keys_push_out_no_confirmed_one(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin would otherwise make a key of theirs the user's first, by making and revoking others."""
    monkeypatch.setattr(module, "MAX_ENDED", 1)
    own = await keys.add(ALICE, "a" * 64)
    await keys.revoke(ALICE, own.id)
    for n in range(3):
        await keys.revoke(ALICE, (await keys.add(ALICE, f"{n}" * 64, confirmed=False)).id)
    handed = await keys.add(ALICE, "b" * 64, confirmed=False)
    assert await keys.prune() == 2
    with pytest.raises(Conflict, match="another key"):
        await keys.rotate(ALICE, handed.id, "c" * 64, overlap_s=0, confirmed="first")


async def test_a_key_with_a_quota_is_kept(keys: Keys, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure finds the quotas of a user's keys by them."""
    monkeypatch.setattr(module, "MAX_ENDED", 0)
    one, two = await keys.add(ALICE, "a" * 64), await keys.add(ALICE, "b" * 64)
    limit = QuotaLimit(window="day", measure="requests", limit=5)
    await QuotaStore(database).put(ALICE, [quota("acme", "key", one.id, limit, set_by="tenant")])
    for each in (one, two):
        await keys.revoke(ALICE, each.id)
    await keys.prune()
    assert await kept(keys, [one.id, two.id]) == [True, False]


async def test_the_stacks_revoked_keys_are_never_removed(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old replica would otherwise store one again, as valid."""
    monkeypatch.setattr(module, "MAX_ENDED", 0)
    for n in range(3):
        await keys.add_bootstrap(f"{n}" * 64)
    assert await keys.prune() == 0
    found = await keys.by_hash("0" * 64)
    assert found is not None
    assert found.key.revoked_at is not None


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
