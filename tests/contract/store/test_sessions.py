"""Sessions at rest: they end by themselves, by their user, and when there are too many."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from serving.core.principal import SCOPES, SCOPES_OF, Principal
from serving.store import sessions as module
from serving.store.errors import NotFound
from serving.store.keys import Keys
from serving.store.relational.database import Database
from serving.store.sessions import PER_USER, PLATFORM_S, TOUCH_S, Sessions
from serving.store.tenants import Tenants
from serving.store.users import Users
from tests.store.statements import statements

ALICE = Principal("acme", "alice", "person_1", SCOPES_OF["operator"], "operator", frozenset(("staff", "eu")))


class Clock:
    """Unix seconds that a test moves on."""

    at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "now", clock)
    return clock


@pytest.fixture
async def sessions(database: Database, clock: Clock) -> Sessions:
    for tenant in ("acme", "evil"):
        await Tenants(database).create(tenant)
        for user in ("alice", "bob"):
            whose = replace(ALICE, tenant=tenant)
            await Users(database).create(whose, user, role=ALICE.role, groups=ALICE.groups)
    return Sessions(database, lifetime_s=3600, idle_s=600)


def hash(n: int) -> str:
    return f"{n:064x}"


async def test_a_session_identifies_its_user(sessions: Sessions) -> None:
    made = await sessions.start(ALICE, "main", hash(1))
    assert await sessions.get(hash(1)) == made
    assert made.principal == replace(ALICE, key_id=made.id, account=ALICE.key_id)
    assert await sessions.get(hash(2)) is None
    assert hash(1) not in repr(made)


async def test_sessions_have_the_users_current_role(sessions: Sessions, database: Database) -> None:
    made = await sessions.start(ALICE, "main", hash(1))
    users, tenants = Users(database), Tenants(database)
    await users.update(ALICE, "alice", role="user", groups=["eu"])
    found = await sessions.get(hash(1))
    assert found is not None
    assert found.principal == Principal(
        "acme", "alice", made.id, SCOPES_OF["user"], "user", frozenset(("eu",)), account=ALICE.key_id
    )
    await users.update(ALICE, "alice", disabled=True)
    assert await sessions.get(hash(1)) is None
    await users.update(ALICE, "alice", disabled=False)
    assert await sessions.get(hash(1)) is not None
    await tenants.update("acme", disabled=True)
    assert await sessions.get(hash(1)) is None


async def test_unknown_users_have_no_session(sessions: Sessions) -> None:
    await sessions.start(replace(ALICE, user="nobody"), "main", hash(1))
    assert await sessions.get(hash(1)) is None


async def test_sessions_expire_by_lifetime_and_idleness(sessions: Sessions, clock: Clock) -> None:
    await sessions.start(ALICE, "main", hash(1))
    for _ in range(5):
        clock.at += 599
        assert await sessions.get(hash(1)) is not None
    clock.at += 600
    assert await sessions.get(hash(1)) is None
    await sessions.start(ALICE, "main", hash(2))
    for _ in range(6):
        clock.at += 590
        assert await sessions.get(hash(2)) is not None
    clock.at += 60  # an hour after its start
    assert await sessions.get(hash(2)) is None


async def test_a_session_of_a_key_ends_with_it(sessions: Sessions, clock: Clock, database: Database) -> None:
    keys = Keys(database)
    lasting, short = [
        await keys.add(ALICE, hash(n), scopes=("data",), expires_at=end) for n, end in ((8, None), (9, clock.at + 60))
    ]
    for n, key in enumerate((lasting, short)):
        acting = replace(ALICE, key_id=key.id, scopes=frozenset(("data", "data:read")))
        made = await sessions.start(acting, "", hash(n))
        assert await sessions.get(hash(n)) == made
        assert made.principal == replace(acting, account=key.id)
    assert made.expires_at == clock.at + 60
    clock.at += 61
    assert await sessions.get(hash(0)) is not None
    assert await sessions.get(hash(1)) is None
    await keys.revoke(ALICE, lasting.id)
    assert await sessions.get(hash(0)) is None


async def test_a_session_does_not_outlive_its_removed_key(
    sessions: Sessions, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.store.keys.MAX_ENDED", 0)
    keys = Keys(database)
    key = await keys.add(ALICE, hash(8))
    await sessions.start(replace(ALICE, key_id=key.id), "", hash(1))
    await keys.revoke(ALICE, key.id)
    assert await keys.prune() == 1
    assert await sessions.get(hash(1)) is None
    assert await sessions.of_user(ALICE, ALICE.user) == []


async def test_a_session_with_the_scope_platform_lasts_an_hour(database: Database, clock: Clock) -> None:
    sessions = Sessions(database, lifetime_s=86_400, idle_s=86_400)
    await Keys(database).add_bootstrap(hash(7))
    found = await Keys(database).by_hash(hash(7))
    assert found is not None
    acting = Principal("default", "admin", found.key.id, frozenset(SCOPES), "admin")
    made = await sessions.start(acting, "", hash(1))
    assert made.expires_at == clock.at + PLATFORM_S
    stored = await sessions.get(hash(1))
    assert stored is not None
    assert stored.scopes == frozenset(SCOPES)


async def test_its_use_is_not_written_each_time(sessions: Sessions, clock: Clock) -> None:
    made = await sessions.start(ALICE, "main", hash(1))
    clock.at += TOUCH_S - 1
    await sessions.get(hash(1))
    assert (await sessions.get(hash(1))) == made
    clock.at += 1
    await sessions.get(hash(1))
    assert (await sessions.get(hash(1))) == replace(made, used_at=clock.at)


async def test_ended_sessions_stay_ended(sessions: Sessions) -> None:
    await sessions.start(ALICE, "main", hash(1))
    await sessions.end(hash(1))
    await sessions.end(hash(1))
    assert await sessions.get(hash(1)) is None


async def test_a_new_session_replaces_the_previous_one(sessions: Sessions) -> None:
    await sessions.start(ALICE, "main", hash(1))
    await sessions.start(replace(ALICE, user="bob"), "main", hash(2), instead_of=[hash(1)])
    assert await sessions.get(hash(1)) is None
    assert await sessions.get(hash(2)) is not None


async def test_a_user_has_a_few(sessions: Sessions, clock: Clock) -> None:
    await sessions.start(replace(ALICE, tenant="evil"), "main", hash(99))
    for n in range(PER_USER + 2):
        clock.at += 1
        await sessions.start(ALICE, "main", hash(n))
    found = [n for n in range(PER_USER + 2) if await sessions.get(hash(n)) is not None]
    assert found == list(range(2, PER_USER + 2))
    assert await sessions.get(hash(99)) is not None


async def test_expired_sessions_are_deleted(sessions: Sessions, clock: Clock, database: Database) -> None:
    await sessions.start(ALICE, "main", hash(1))
    clock.at += 600
    await sessions.start(replace(ALICE, user="bob"), "main", hash(2))
    # Nothing is left for a clock that goes back.
    clock.at -= 600
    assert await sessions.get(hash(1)) is None


async def test_concurrent_sign_ins_stay_within_the_limit(sessions: Sessions) -> None:
    await asyncio.gather(*(sessions.start(ALICE, "main", hash(n)) for n in range(PER_USER * 2)))
    found = [n for n in range(PER_USER * 2) if await sessions.get(hash(n)) is not None]
    assert len(found) == PER_USER


async def test_all_sessions_of_a_user_are_listed_and_ended(
    sessions: Sessions, clock: Clock, database: Database
) -> None:
    bob = replace(ALICE, user="bob")
    for n, (who, issuer) in enumerate([(ALICE, "main"), (replace(ALICE, key_id="person_2"), "other"), (bob, "main")]):
        clock.at += 1
        await sessions.start(who, issuer, hash(n))
    await sessions.start(replace(ALICE, tenant="evil"), "main", hash(9))
    with statements(database) as seen:
        found = await sessions.of_user(bob, "alice")
    assert [(each.issuer, each.hash) for each in found] == [("other", hash(1)), ("main", hash(0))]
    assert len(seen) == 2, seen
    with pytest.raises(NotFound):
        await sessions.of_user(bob, "nobody")
    with pytest.raises(NotFound):
        await sessions.end_all(bob, "nobody")
    assert await sessions.end_all(bob, "alice") == 2
    left = [n for n in (0, 1, 2, 9) if await sessions.get(hash(n)) is not None]
    assert left == [2, 9]
    clock.at += 600
    assert await sessions.of_user(ALICE, "bob") == []
