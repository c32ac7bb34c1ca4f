"""Those who sign in at a provider, as users at rest: whose name is whose, and who may not come in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.core.principal import SCOPES_OF, Principal
from serving.security.people import KnownPeople
from serving.security.person import Person, TokenError
from serving.store.errors import Conflict, StoreError
from serving.store.keys import Keys
from serving.store.relational.database import Database
from serving.store.tenants import Tenants
from serving.store.users import MAX_GROUPS, User, Users
from tests.store import migrated

ALICE = Person("https://id.example.com", "s-1", "acme", "alice", "operator", frozenset(("staff", "eu")))
ADMIN = Principal("acme", "boss", "key_b")


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "postgresql":
        url = migrated.postgres_of(request.getfixturevalue("postgres"))
    else:
        url = migrated.sqlite_at(f"sqlite:///{tmp_path}/h.db")
    async with Database(url) as database:
        for tenant in ("acme", "evil"):
            await Tenants(database).create(tenant)
        yield database


@pytest.fixture
def users(database: Database) -> Users:
    return Users(database)


@pytest.fixture
def people(users: Users) -> KnownPeople:
    return KnownPeople(users, ttl_s=0)


async def everybody(users: Users, tenant: str = "acme") -> list[str]:
    return [user.user for user in (await users.list(Principal(tenant, "", ""), order="asc")).items]


async def test_a_first_sign_in_creates_a_user(people: KnownPeople, users: Users) -> None:
    found = await people.admit(ALICE)
    assert found == Principal("acme", "alice", ALICE.id, SCOPES_OF["operator"], "operator", ALICE.groups)
    assert await people.admit(ALICE) == found
    stored = await users.get(found, "alice")
    assert (stored.issuer, stored.subject, stored.groups) == (ALICE.issuer, ALICE.subject, ["eu", "staff"])
    assert await everybody(users) == ["alice"]


async def test_role_and_groups_follow_the_provider(people: KnownPeople, users: Users) -> None:
    await people.admit(replace(ALICE, role="admin"), fresh=True)
    # The tenant's last admin too: what the provider takes away is gone.
    found = await people.admit(replace(ALICE, role="user", groups=frozenset()), fresh=True)
    assert (found.role, found.scopes, found.groups) == ("user", SCOPES_OF["user"], frozenset())
    assert (await users.get(ADMIN, "alice")).role == "user"


async def test_token_rights_apply_to_its_requests_only(people: KnownPeople, users: Users) -> None:
    left = replace(ALICE, role="user", groups=frozenset())
    await people.admit(left, fresh=True)
    # From before the sign-in, and not expired.
    found = await people.admit(replace(ALICE, role="admin"))
    assert (found.role, found.scopes, found.groups) == ("admin", SCOPES_OF["admin"], ALICE.groups)
    stored = await users.get(ADMIN, "alice")
    assert (stored.role, stored.groups) == ("user", [])
    # Nor is what it said remembered for the next sign-in.
    people = KnownPeople(users, ttl_s=3600)
    for fresh, role in ((False, "user"), (True, "admin")):
        await people.admit(replace(ALICE, role="admin"), fresh=fresh)
        assert (await users.get(ADMIN, "alice")).role == role


async def test_tokens_create_users_without_storing_rights(people: KnownPeople, users: Users) -> None:
    await users.create(ADMIN, "alice", role="user", groups=["old"])
    assert (await people.admit(replace(ALICE, role="admin"))).role == "admin"
    stored = await users.get(ADMIN, "alice")
    assert (stored.role, stored.groups, stored.subject) == ("user", ["old"], ALICE.subject)


async def test_admins_cannot_change_provider_managed_roles(people: KnownPeople, users: Users) -> None:
    await people.admit(ALICE)
    for change in ({"role": "admin"}, {"groups": ["x"]}, {"role": "user", "disabled": True}):
        with pytest.raises(Conflict, match="identity provider"):
            await users.update(ADMIN, "alice", **change)
    stored = await users.get(ADMIN, "alice")
    assert (stored.role, stored.groups, stored.disabled_at) == ("operator", ["eu", "staff"], None)


async def test_keys_follow_the_providers_role(people: KnownPeople, database: Database) -> None:
    keys, caller = Keys(database), await people.admit(ALICE)
    await keys.add(caller, "a" * 64, scopes=["operate"])
    await people.admit(replace(ALICE, role="user"), fresh=True)
    held = await keys.by_hash("a" * 64)
    assert held is not None
    assert held.role == "user"


async def test_a_changed_name_is_the_same_user(people: KnownPeople, users: Users) -> None:
    await people.admit(ALICE)
    for name in ("bob", "no name at all", "admin"):
        found = await people.admit(replace(ALICE, user=name, role="user"))
        assert (found.user, found.role) == ("alice", "user")
        await people.admit(ALICE)
    assert await everybody(users) == ["alice"]


async def test_user_names_belong_to_their_first_subject(people: KnownPeople, users: Users) -> None:
    await people.admit(ALICE)
    for other in (replace(ALICE, subject="s-2"), replace(ALICE, issuer="https://other.example.com")):
        with pytest.raises(TokenError, match="another user has that name"):
            await people.admit(replace(other, role="admin"))
    # In another tenant it is free, for another subject.
    assert (await people.admit(replace(ALICE, tenant="evil", subject="s-3"))).tenant == "evil"
    assert (await users.get(ADMIN, "alice")).role == "operator"


async def test_a_subject_stays_in_its_tenant(people: KnownPeople, users: Users) -> None:
    await people.admit(ALICE)
    with pytest.raises(TokenError, match="another tenant"):
        await people.admit(replace(ALICE, tenant="evil"))
    assert await everybody(users, "evil") == []


async def test_precreated_users_bind_to_the_first_sign_in(people: KnownPeople, users: Users) -> None:
    await users.create(ADMIN, "alice", role="admin", groups=["old"])
    found = await people.admit(ALICE)
    assert (found.role, found.groups) == ("operator", ALICE.groups)
    with pytest.raises(TokenError):
        await people.admit(replace(ALICE, subject="s-2"))


async def test_nobody_can_sign_in_as_the_stacks_own_user(people: KnownPeople, users: Users) -> None:
    with pytest.raises(TokenError, match="another user has that name"):
        await people.admit(replace(ALICE, tenant="default", user="admin", role="admin"))
    own = await users.get(Principal("default", "", ""), "admin")
    assert (own.role, own.subject) == ("admin", None)


async def test_sign_in_does_not_enable_disabled_users(people: KnownPeople, users: Users) -> None:
    await people.admit(ALICE)
    await users.update(ADMIN, "alice", disabled=True)
    for said in (ALICE, replace(ALICE, role="admin"), replace(ALICE, user="again")):
        with pytest.raises(TokenError, match="disabled"):
            await people.admit(said)
    stored = await users.get(ADMIN, "alice")
    assert (stored.role, stored.disabled_at is not None, await everybody(users)) == ("operator", True, ["alice"])
    await users.create(ADMIN, "carol")
    await users.update(ADMIN, "carol", disabled=True)
    with pytest.raises(TokenError, match="disabled"):
        await people.admit(replace(ALICE, subject="s-2", user="carol"))
    await users.update(ADMIN, "alice", disabled=False)
    assert (await people.admit(ALICE)).user == "alice"


async def test_disabled_or_unknown_tenants_reject_sign_in(
    people: KnownPeople, users: Users, database: Database
) -> None:
    await people.admit(ALICE)
    await Tenants(database).update("acme", disabled=True)
    for said in (ALICE, replace(ALICE, role="admin"), replace(ALICE, subject="s-2", user="new")):
        with pytest.raises(TokenError):
            await people.admit(said)
    with pytest.raises(TokenError, match="does not exist"):
        await people.admit(replace(ALICE, subject="s-3", tenant="nowhere"))
    assert await everybody(users) == ["alice"]


@pytest.mark.parametrize("name", ["a b", "a/b", ".", "é", "a" * 129, "a\n"])
async def test_reserved_names_are_rejected(people: KnownPeople, users: Users, name: str) -> None:
    with pytest.raises(TokenError, match="that name is not a valid user name"):
        await people.admit(replace(ALICE, user=name))
    assert await everybody(users) == []


@pytest.mark.parametrize("name", ["-x_9", "_abc", "auth0|5f7c", "alice@example.com", "a" * 128])
async def test_usual_names_of_providers_are_accepted(people: KnownPeople, name: str) -> None:
    assert (await people.admit(replace(ALICE, user=name))).user == name


async def test_groups_have_bounds(people: KnownPeople) -> None:
    groups = frozenset(f"g{n}" for n in range(MAX_GROUPS))
    assert (await people.admit(replace(ALICE, groups=groups))).groups == groups
    with pytest.raises(TokenError):
        await people.admit(replace(ALICE, groups=groups | {"more"}))


async def test_concurrent_first_sign_ins_create_one_user(people: KnownPeople, users: Users) -> None:
    # Under one name, and under as many as there are.
    found = await asyncio.gather(*(people.admit(replace(ALICE, user=f"name{n // 2}")) for n in range(16)))
    assert len({each.user for each in found}) == 1
    assert await everybody(users) == [found[0].user]


async def test_concurrent_sign_ins_under_one_name_create_one_user(people: KnownPeople, users: Users) -> None:
    def sign_in(n: int) -> asyncio.Future[Principal]:
        return asyncio.ensure_future(people.admit(replace(ALICE, subject=f"s-{n}")))

    found = await asyncio.gather(*map(sign_in, range(12)), return_exceptions=True)
    assert sum(isinstance(each, Principal) for each in found) == 1
    assert sum(isinstance(each, TokenError) for each in found) == 11
    assert await everybody(users) == ["alice"]


async def test_sign_in_races_with_admin_creation(people: KnownPeople, users: Users) -> None:
    for n in range(8):
        said = replace(ALICE, subject=f"s-{n}", user=f"u{n}")
        made, seen = await asyncio.gather(users.create(ADMIN, said.user), people.admit(said), return_exceptions=True)
        assert isinstance(made, User | StoreError), made
        assert isinstance(seen, Principal | TokenError), seen
        assert isinstance(made, User) or isinstance(seen, Principal)
        assert (await users.get(ADMIN, said.user)).user == said.user


async def test_lookups_are_cached_per_person(users: Users) -> None:
    people = KnownPeople(users, ttl_s=3600)
    found = await people.admit(ALICE)
    await users.update(ADMIN, "alice", disabled=True)
    assert await people.admit(ALICE) == found
    for other in (replace(ALICE, role="admin"), replace(ALICE, groups=frozenset()), replace(ALICE, subject="s-2")):
        with pytest.raises(TokenError):
            await people.admit(other)
