from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.core.principal import BY_NAME, SCOPES, SCOPES_OF, Principal, Role, allowed
from serving.security.keys import AuthenticationError, Authenticator, new_key
from serving.security.lockout import LockedOut
from serving.store.errors import NotFound
from serving.store.keys import Keys, KeyWithUser
from serving.store.relational.database import Database
from serving.store.tenants import Tenants
from serving.store.users import Users
from tests.store import migrated

SECRET = "k" * 32
ADMIN = Principal(tenant="acme", user="admin", key_id="key_0")


class Counted(Keys):
    """The real store, counting look-ups."""

    lookups = 0

    async def by_hash(self, hash: str) -> KeyWithUser | None:
        self.lookups += 1
        return await super().by_hash(hash)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(migrated.sqlite_at(f"sqlite:///{tmp_path}/headrace.db")) as database:
        yield database


@pytest.fixture
async def keys(database: Database) -> Counted:
    await Tenants(database).create(ADMIN.tenant)
    for user, role in (("admin", "admin"), ("robot", "user")):
        await Users(database).create(ADMIN, user, role=role)
    return Counted(database)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    clocks = ("lockout.monotonic", "keys.now")
    for name in (
        *(f"serving.security.{clock}" for clock in clocks),
        "serving.core.ttl_cache.time.monotonic",
        "serving.store.keys.now",
    ):
        monkeypatch.setattr(name, lambda: time[0])
    return time


def test_keys_have_256_random_bits() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"hr_[A-Za-z0-9_-]{43}", key) for key in made)


async def test_issue_and_verify(keys: Counted) -> None:
    authenticator = Authenticator(keys, SECRET)
    row, key = await authenticator.issue(ADMIN, name="ci", user="robot", scopes=["data:read"])
    for header in (f"Bearer {key}", f"bearer {key}", f"BEARER  {key} "):
        principal = await authenticator.authenticate(header)
    assert principal == Principal("acme", "robot", row.id, scopes=frozenset({"data:read"}), account=row.id)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer sk-123",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer {other}",
        "Bearer {key}\n",
        "Bearer \ud800",
        "Bearer hr_" + "é" * 43,
        "Bearer " + "x" * 1_000_000,
    ],
)
async def test_invalid_keys_are_rejected(keys: Counted, header: str | None) -> None:
    authenticator = Authenticator(keys, SECRET)
    _, key = await authenticator.issue(ADMIN)
    sent = header.format(key=key, other=new_key()) if header else header
    if sent == f"Bearer {key}\n":
        assert await authenticator.authenticate(sent)  # white space around it is not the key
        return
    with pytest.raises(AuthenticationError) as e:
        await authenticator.authenticate(sent)
    assert key not in str(e.value)


async def test_only_a_keyed_hash_is_stored(keys: Counted, tmp_path: Path, database: Database) -> None:
    authenticator = Authenticator(keys, SECRET)
    row, key = await authenticator.issue(ADMIN)
    await authenticator.authenticate(f"Bearer {key}")
    await database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert row.hash.encode() in stored
    assert key.encode() not in stored
    assert key[3:].encode() not in stored
    for shown in (repr(row), repr(authenticator), repr(vars(authenticator)["_verified"])):
        assert key not in shown
        assert row.hash not in shown
        assert SECRET not in shown
    assert await Authenticator(keys, "other" * 8).verify(key) is None


async def test_revoked_keys_end_with_the_cache(keys: Counted, clock: list[float]) -> None:
    authenticator = Authenticator(keys, SECRET, ttl_s=10)
    row, key = await authenticator.issue(ADMIN)
    assert await authenticator.verify(key)
    await keys.revoke(ADMIN, row.id)
    clock[0] += 9.9
    assert await authenticator.verify(key)
    clock[0] += 0.2
    assert await authenticator.verify(key) is None
    assert await Authenticator(keys, SECRET).verify(key) is None


async def test_expiry_is_not_stretched_by_the_cache(keys: Counted, clock: list[float]) -> None:
    authenticator = Authenticator(keys, SECRET, ttl_s=10)
    _, key = await authenticator.issue(ADMIN, expires_at=1005)
    assert await authenticator.verify(key)
    clock[0] = 1004.9
    assert await authenticator.verify(key)
    clock[0] = 1005
    assert await authenticator.verify(key) is None


async def test_cache_spares_the_store(keys: Counted, clock: list[float]) -> None:
    authenticator = Authenticator(keys, SECRET, ttl_s=10, refused_ttl_s=1)
    _, key = await authenticator.issue(ADMIN)
    for _ in range(5):
        assert await authenticator.verify(key)
    assert keys.lookups == 1
    unknown = new_key()
    for _ in range(5):
        assert await authenticator.verify(unknown) is None
    assert keys.lookups == 2
    clock[0] += 1
    assert await authenticator.verify(unknown) is None
    assert keys.lookups == 3
    assert await authenticator.verify("malformed") is None
    assert keys.lookups == 3


async def test_guesses_neither_fill_memory_nor_push_out_good_keys(keys: Counted) -> None:
    authenticator = Authenticator(keys, SECRET, size=8)
    _, key = await authenticator.issue(ADMIN)
    assert await authenticator.verify(key)
    for _ in range(20):
        await authenticator.verify(new_key())
    before = keys.lookups
    assert await authenticator.verify(key)
    assert keys.lookups == before
    assert len(authenticator._refused) == 8


async def test_concurrent_replicas_store_the_bootstrap_key_once(keys: Counted, database: Database) -> None:
    key = new_key()
    replicas = [Authenticator(Keys(database), SECRET) for _ in range(4)]
    await asyncio.gather(*(replica.ensure_bootstrap(key) for replica in replicas))
    default = Principal(tenant="default", user="admin", key_id="")
    assert len((await keys.list(default)).items) == 1
    caller = await replicas[0].authenticate(f"Bearer {key}")
    assert (caller.scopes, caller.role) == (set(SCOPES), "admin")


async def test_new_bootstrap_key_revokes_the_old_one(keys: Counted) -> None:
    old, new = new_key(), new_key()
    await Authenticator(keys, SECRET).ensure_bootstrap(old)
    _, issued = await Authenticator(keys, SECRET).issue(ADMIN)
    await Authenticator(keys, SECRET).ensure_bootstrap(new)
    await Authenticator(keys, SECRET).ensure_bootstrap(old)  # a replica that still has the old one restarts
    fresh = Authenticator(keys, SECRET)
    assert await fresh.verify(old) is None
    assert await fresh.verify(new)
    assert await fresh.verify(issued)


async def test_keys_of_other_tenants_are_not_found(keys: Counted) -> None:
    authenticator = Authenticator(keys, SECRET)
    row, key = await authenticator.issue(ADMIN)
    other = Principal(tenant="evil", user="mallory", key_id="key_m")
    for call in (keys.get(other, row.id), keys.revoke(other, row.id)):
        with pytest.raises(NotFound):
            await call
    assert (await keys.list(other)).items == []
    assert await authenticator.verify(key)


@pytest.mark.parametrize("role", SCOPES_OF)
@given(named=st.lists(st.sampled_from([*SCOPES, "root", ""])))
def test_a_key_is_good_for_no_more_than_its_user(role: Role, named: list[str]) -> None:
    good = allowed(named, role)
    assert good <= SCOPES_OF[role] | BY_NAME[role]
    assert good <= {*named, "data:read", "hub:read"}
    assert "platform" not in good
    assert ("data:read" in good) == bool({"data", "data:read"} & set(named))
    if role == "admin":
        assert ("hub:read" in good) == bool({"hub:write", "hub:read"} & set(named))
    assert allowed(good, role) == good


async def test_key_rights_follow_the_user(keys: Counted, database: Database, clock: list[float]) -> None:
    authenticator, users = Authenticator(keys, SECRET, ttl_s=10), Users(database)
    _, key = await authenticator.issue(ADMIN, user="robot", scopes=SCOPES)

    async def seen() -> Principal | None:
        clock[0] += 10
        return await authenticator.verify(key)

    caller = await seen()
    assert caller is not None
    assert (caller.scopes, caller.role, caller.groups) == (SCOPES_OF["user"] | BY_NAME["user"], "user", frozenset())
    await users.update(ADMIN, "robot", role="admin", groups=["g"])
    assert await authenticator.verify(key) == caller, "it is remembered"
    caller = await seen()
    assert caller is not None
    assert (caller.scopes, caller.role, caller.groups) == (SCOPES_OF["admin"] | BY_NAME["admin"], "admin", {"g"})
    await users.update(ADMIN, "robot", disabled=True)
    assert await seen() is None
    await users.update(ADMIN, "robot", role="user", disabled=False)
    caller = await seen()
    assert caller is not None
    assert caller.scopes == SCOPES_OF["user"] | BY_NAME["user"]
    await Tenants(database).update("acme", disabled=True)
    assert await seen() is None


async def test_use_is_noted_off_the_requests_path(keys: Counted, clock: list[float]) -> None:
    authenticator = Authenticator(keys, SECRET)
    row, key = await authenticator.issue(ADMIN)
    await authenticator.note_used()
    assert (await keys.get(ADMIN, row.id)).last_used_at is None
    for _ in range(3):
        await authenticator.verify(key)
    assert (await keys.get(ADMIN, row.id)).last_used_at is None, "no request writes"
    clock[0] += 5
    await authenticator.note_used()
    assert (await keys.get(ADMIN, row.id)).last_used_at == clock[0]
    clock[0] += 100
    await authenticator.note_used()
    assert (await keys.get(ADMIN, row.id)).last_used_at == clock[0] - 100
    await authenticator.verify(new_key())
    await authenticator.note_used()


async def test_a_rotated_key_works_until_the_overlap_ends(keys: Counted, clock: list[float]) -> None:
    authenticator = Authenticator(keys, SECRET)
    row, old = await authenticator.issue(ADMIN, user="robot", scopes=["inference"])
    made, new = await authenticator.rotate(ADMIN, row.id, overlap_s=60)
    for key, id in ((old, row.id), (new, made.id)):
        assert await authenticator.verify(key) == Principal(
            "acme", "robot", id, frozenset({"inference"}), account=row.id
        )
    clock[0] += 60
    assert await authenticator.verify(old) is None
    assert await authenticator.verify(new)


def test_weak_secrets_and_bad_bootstrap_keys_are_refused(keys: Counted) -> None:
    with pytest.raises(ValueError, match="at least 32"):
        Authenticator(keys, "short")
    with pytest.raises(ValueError, match="bootstrap key") as e:
        asyncio.run(Authenticator(keys, secrets.token_urlsafe(32)).ensure_bootstrap("hr_geheim"))
    assert "geheim" not in str(e.value)


async def test_wrong_keys_of_an_address_cost_a_bounded_number_of_look_ups(keys: Counted, clock: list[float]) -> None:
    authenticator = Authenticator(keys, SECRET)
    answers: list[object] = []
    for _ in range(200):
        try:
            answers.append(await authenticator.verify(new_key(), "192.0.2.1"))
        except LockedOut as e:
            answers.append(e.retry_after_s)
    assert keys.lookups < 20
    assert answers[0] is None
    assert answers[-1] == 1


async def test_valid_keys_work_while_another_client_guesses(keys: Counted, clock: list[float]) -> None:
    """Where their key was good here before: by day, that is everybody."""
    authenticator = Authenticator(keys, SECRET)
    _, key = await authenticator.issue(ADMIN)
    _, other = await authenticator.issue(ADMIN)
    assert await authenticator.verify(key, "192.0.2.1")
    for _ in range(20):
        with suppress(LockedOut):
            await authenticator.verify(new_key(), "192.0.2.1")
    clock[0] += 11  # what was verified is forgotten, and the key is looked up again
    for _ in range(20):
        with suppress(LockedOut):
            await authenticator.verify(new_key(), "192.0.2.1")
    assert await authenticator.verify(key, "192.0.2.1")
    with pytest.raises(LockedOut):
        await authenticator.verify(other, "192.0.2.1")
    assert await authenticator.verify(other, "192.0.2.2")
    assert await authenticator.verify(other, "192.0.2.1")  # and is known from now on


async def test_repeating_one_wrong_key_locks_nobody_out(keys: Counted, clock: list[float]) -> None:
    """A program with an old key goes on with it; whoever guesses does not."""
    authenticator = Authenticator(keys, SECRET)
    old = new_key()
    for _ in range(60):
        assert await authenticator.verify(old, "192.0.2.1") is None
        clock[0] += 2
    _, key = await authenticator.issue(ADMIN)
    assert await authenticator.verify(key, "192.0.2.1")
