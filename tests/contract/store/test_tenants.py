"""Tenants, their users, and the rules that keep a tenant from locking itself out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serving.core.principal import Principal
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.tenants import Tenants
from serving.store.users import MAX_GROUPS, Users

ACME = Principal(tenant="acme", user="", key_id="")
EVIL = Principal(tenant="evil", user="", key_id="")
STACK = Principal(tenant="default", user="admin", key_id="")


@pytest.fixture
async def tenants(database: Database) -> Tenants:
    made = Tenants(database)
    for id in ("acme", "evil"):
        await made.create(id)
    return made


@pytest.fixture
def users(database: Database, tenants: Tenants) -> Users:
    return Users(database)


async def test_the_stacks_own_tenant_and_user_always_exist(tenants: Tenants, users: Users) -> None:
    assert (await tenants.get("default")).disabled_at is None
    assert (await users.get(STACK, "admin")).role == "admin"
    with pytest.raises(Conflict, match="own key"):
        await tenants.update("default", disabled=True)
    await users.create(STACK, "second", role="admin")
    for change in ({"disabled": True}, {"role": "user"}):
        with pytest.raises(Conflict, match="own key"):
            await users.update(STACK, "admin", **change)
    assert (await users.get(STACK, "admin")).disabled_at is None


async def test_tenants_can_be_created_once_and_changed(tenants: Tenants) -> None:
    made = await tenants.create("birds", name="Birds \U0001f426")
    assert await tenants.get("birds") == made
    with pytest.raises(Conflict):
        await tenants.create("birds")
    assert (await tenants.create("fish")).name == "fish"
    closed = await tenants.update("birds", disabled=True)
    assert closed.disabled_at is not None
    assert await tenants.update("birds", disabled=True) == closed, "it was closed when it was closed"
    opened = await tenants.update("birds", name="B", disabled=False)
    assert (opened.name, opened.disabled_at, opened.created_at) == ("B", None, made.created_at)
    assert await tenants.update("birds") == opened


@pytest.mark.parametrize("id", ["", "A", "1a", "-a", "a_b", "a" * 64, "a\n", "ä", "a/b", "a\0", "\ud800"])
async def test_invalid_tenant_ids_are_rejected(tenants: Tenants, id: str) -> None:
    with pytest.raises(InvalidValue):
        await tenants.create(id)
    with pytest.raises(NotFound):
        await tenants.get(id)
    with pytest.raises(NotFound):
        await tenants.update(id, name="x")


async def test_tenants_are_listed_in_pages(tenants: Tenants) -> None:
    for n in range(3):
        await tenants.create(f"t{n}")
    seen: list[str] = []
    after = None
    while True:
        page = await tenants.list(after=after, limit=2, order="asc")
        seen += [tenant.id for tenant in page.items]
        if not page.has_more:
            break
        after = seen[-1]
    assert seen == ["default", "acme", "evil", "t0", "t1", "t2"]
    with pytest.raises(InvalidValue):
        await tenants.list(after="nobody")
    with pytest.raises(InvalidValue):
        await tenants.list(limit=101)


async def test_a_user_is_of_one_tenant(users: Users) -> None:
    made = await users.create(ACME, "alice@example.com", role="operator", groups=["b", "a", "b"])
    assert (made.role, made.groups) == ("operator", ["a", "b"])
    with pytest.raises(Conflict):
        await users.create(ACME, "alice@example.com")
    other = await users.create(EVIL, "alice@example.com")
    assert other.role == "user"
    changed = await users.update(ACME, made.user, groups=[], disabled=True)
    assert (changed.role, changed.groups, changed.disabled_at is not None) == ("operator", [], True)
    assert await users.get(EVIL, made.user) == other
    assert [u.user for u in (await users.list(EVIL)).items] == [made.user]
    for call in (users.get(STACK, made.user), users.update(STACK, made.user, role="admin")):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(NotFound, match="tenant"):
        await users.create(Principal("nowhere", "", ""), "u")


@pytest.mark.parametrize("user", ["", ".", "..", "a/b", "a b", "a" * 129, "ä", "a\n", "a\0", "\ud800", "-a"])
async def test_invalid_user_ids_are_rejected(users: Users, user: str) -> None:
    with pytest.raises(InvalidValue):
        await users.create(ACME, user)
    with pytest.raises(NotFound):
        await users.get(ACME, user)


async def test_invalid_groups_and_roles_are_rejected(users: Users) -> None:
    most = [f"g{n:03}" for n in range(MAX_GROUPS)]
    assert (await users.create(ACME, "a", groups=most)).groups == most
    wrong: list[dict[str, Any]] = [
        {"groups": [*most, "x"]},
        {"groups": [""]},
        {"groups": ["x" * 257]},
        {"groups": ["\0"]},
        {"role": "root"},
    ]
    for given in wrong:
        with pytest.raises(InvalidValue):
            await users.create(ACME, "b", **given)
        with pytest.raises(InvalidValue):
            await users.update(ACME, "a", **given)
    assert (await users.get(ACME, "a")).groups == most


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "operator"}])
async def test_a_tenant_keeps_an_admin(users: Users, change: dict[str, Any]) -> None:
    for user in ("a", "b"):
        await users.create(ACME, user, role="admin")
    await users.create(EVIL, "c", role="admin")  # another tenant's counts for nothing
    # Both remove the other at once: one is late.
    ends = await asyncio.gather(
        users.update(ACME, "a", **change), users.update(ACME, "b", **change), return_exceptions=True
    )
    assert sorted(type(end).__name__ for end in ends) == ["Conflict", "User"]
    left = [u for u in (await users.list(ACME)).items if u.role == "admin" and u.disabled_at is None]
    assert len(left) == 1
    assert (await users.update(ACME, left[0].user, groups=["g"])).groups == ["g"]
